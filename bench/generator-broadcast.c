/*
 * Load of a broadcast: one client asks, the server sends one message to all, and when all have it the client asks again.
 *
 *   generator-broadcast tcp|ws port clients slowClients payloadBytes warmupSeconds measureSeconds [serverPid]
 *
 * The first client sends a message of `payload` bytes, which the server sends to every client, the asking one included. A slow
 * client is connected and never reads; nobody waits for it. Every byte is compared. Latency: from the question to each delivery.
 * The server is on 127.0.0.1.
 */
#include "load.h"

#define MAX_EVENTS 1024
#define READ_BYTES (256 * 1024)
#define DEAD_NS 10000000000ull

typedef struct {
  int fd, is_slow;
  size_t at; /* bytes received of the message awaited */
} Client;

static uint8_t *question, *answer, *read_buffer;
static size_t question_bytes, answer_bytes;
static uint64_t messages, mismatches, disconnects, asked_at;
static uint32_t awaited, fast_count;
static int is_ws;

static size_t put_frame(uint8_t *f, uint32_t payload, int masked) {
  if (is_ws) return put_ws_header(f, payload, masked);
  uint32_t length = htonl(payload);
  memcpy(f, &length, 4);
  return 4;
}

static void build(uint32_t payload) {
  question = must(calloc(1, (size_t)payload + 16));
  answer = must(calloc(1, (size_t)payload + 16));
  /* With a mask of four zero bytes the payload is the same in both. */
  size_t q = put_frame(question, payload, 1) + (is_ws ? 4 : 0), a = put_frame(answer, payload, 0);
  for (uint32_t i = 0; i < payload; i++) question[q + i] = answer[a + i] = (uint8_t)(i * 31 + 7);
  question_bytes = q + payload;
  answer_bytes = a + payload;
}

static void ask(Client *first) {
  size_t at = 0;
  awaited = fast_count;
  asked_at = now_ns();
  while (at < question_bytes) {
    ssize_t n = write(first->fd, question + at, question_bytes - at);
    if (n < 0 && errno != EAGAIN && errno != EINTR) die("write");
    if (n > 0) at += (size_t)n;
  }
}

static void receive(Client *c, Client *first) {
  ssize_t n = recv(c->fd, read_buffer, READ_BYTES, MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) {
    if (disconnects++ == 0) fprintf(stderr, "generator: connection lost\n");
    close(c->fd);
    return;
  }
  if (c->at + (size_t)n > answer_bytes || memcmp(read_buffer, answer + c->at, (size_t)n) != 0) {
    if (mismatches++ == 0) fprintf(stderr, "generator: different bytes came\n");
    exit(1);
  }
  c->at += (size_t)n;
  if (c->at < answer_bytes) return;
  c->at = 0;
  histogram[bucket_of(now_ns() - asked_at)]++;
  messages++;
  if (--awaited == 0) ask(first);
}

static void run_until(int epoll_fd, Client *first, uint64_t deadline) {
  static struct epoll_event events[MAX_EVENTS];
  while (now_ns() < deadline) {
    int n = epoll_wait(epoll_fd, events, MAX_EVENTS, 10);
    for (int i = 0; i < n; i++) receive(events[i].data.ptr, first);
    if (disconnects || now_ns() - asked_at > DEAD_NS) {
      fprintf(stderr, "generator: %u of %u deliveries did not come\n", awaited, fast_count);
      exit(1);
    }
  }
}

int main(int argc, char **argv) {
  if (argc != 8 && argc != 9) {
    fprintf(stderr, "usage: %s tcp|ws port clients slowClients payloadBytes warmupSeconds measureSeconds [serverPid]\n", argv[0]);
    return 1;
  }
  is_ws = strcmp(argv[1], "ws") == 0;
  struct sockaddr_in server = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  server.sin_port = htons((uint16_t)number(argv[2], "port", 1, 65535));
  fast_count = (uint32_t)number(argv[3], "clients", 1, 20000);
  uint32_t slow_count = (uint32_t)number(argv[4], "slowClients", 0, 20000);
  uint32_t payload = (uint32_t)number(argv[5], "payloadBytes", 1, 1024 * 1024);
  uint64_t warmup = (uint64_t)(number(argv[6], "warmupSeconds", 0, 60) * 1e9);
  uint64_t measure = (uint64_t)(number(argv[7], "measureSeconds", 0.05, 600) * 1e9);
  pid_t pid = argc == 9 ? (pid_t)number(argv[8], "serverPid", 1, 1 << 30) : 0;
  clockid_t server_clock = 0;
  if (pid && clock_getcpuclockid(pid, &server_clock) != 0) die("no such server process");
  signal(SIGPIPE, SIG_IGN);

  build(payload);
  read_buffer = must(malloc(READ_BYTES));
  int epoll_fd = epoll_create1(EPOLL_CLOEXEC), one = 1, small = 4096;
  if (epoll_fd < 0) die("epoll_create1");
  Client *clients = must(calloc(fast_count + slow_count, sizeof *clients));
  for (uint32_t i = 0; i < fast_count + slow_count; i++) {
    Client *c = &clients[i];
    c->is_slow = i >= fast_count;
    if ((c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) < 0) die("socket");
    if (c->is_slow) setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    if (connect(c->fd, (struct sockaddr *)&server, sizeof server) != 0) die("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (is_ws) upgrade(c->fd);
    if (c->is_slow) continue;
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &e) != 0) die("epoll_ctl");
  }
  /* A session of TCP exists for the server a little after the connection does. */
  struct timespec pause = {.tv_nsec = 300000000};
  nanosleep(&pause, NULL);
  ask(&clients[0]);
  run_until(epoll_fd, &clients[0], now_ns() + warmup);
  memset(histogram, 0, sizeof histogram);
  messages = 0;
  uint64_t own_before = own_cpu_ns(), server_before = pid ? clock_ns(server_clock) : 0, start = now_ns();
  run_until(epoll_fd, &clients[0], start + measure);
  Result result = {.messages = messages, .window_ns = now_ns() - start, .own_cpu_ns = own_cpu_ns() - own_before, .payload = payload};
  uint64_t server_after = pid ? clock_ns(server_clock) : 0;
  if (server_after > server_before) result.server_cpu_ns = server_after - server_before;
  print_result(&result, percentile_us(0.5), percentile_us(0.99), percentile_us(0.999), mismatches, disconnects, 0, pid != 0);
  return 0;
}
