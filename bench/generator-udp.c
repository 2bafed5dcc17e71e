/*
 * Closed-loop load over UDP: one thread, epoll, every echoed datagram compared.
 *
 *   generator-udp udp port sockets outstanding payloadBytes warmupSeconds measureSeconds [serverPid]
 *
 * Each connected socket keeps `outstanding` datagrams on their way; a datagram begins with its number. One that has not come back
 * after 200 ms counts as missing, and the next one is sent in its place. The server is on 127.0.0.1.
 */
#include "load.h"

#define MAX_EVENTS 256
#define MAX_OUTSTANDING 64
#define LATE_NS 200000000ull
#define PATTERNS 256

typedef struct {
  int fd;
  uint32_t next;
  struct {
    uint32_t number;
    uint64_t sent_at;
  } slots[MAX_OUTSTANDING];
} Peer;

static uint8_t *patterns, *read_buffer;
static uint32_t outstanding, payload;
static uint64_t messages, mismatches, missing, late;
static int sending = 1;

static void send_next(Peer *p, uint32_t slot) {
  uint32_t number = p->next++, wire = htonl(number);
  uint8_t *bytes = patterns + (size_t)(number % PATTERNS) * payload;
  memcpy(bytes, &wire, 4);
  p->slots[slot].number = number;
  p->slots[slot].sent_at = now_ns();
  if (send(p->fd, bytes, payload, 0) != (ssize_t)payload && errno != EAGAIN && errno != ECONNREFUSED) die("send");
}

static void receive(Peer *p) {
  for (;;) {
    ssize_t n = recv(p->fd, read_buffer, payload + 1, MSG_DONTWAIT);
    if (n < 0) return;
    uint32_t wire, slot;
    if (n != (ssize_t)payload) {
      mismatches++;
      continue;
    }
    memcpy(&wire, read_buffer, 4);
    uint32_t number = ntohl(wire);
    for (slot = 0; slot < outstanding && p->slots[slot].number != number; slot++) continue;
    if (slot == outstanding || !p->slots[slot].sent_at) {
      late++; /* counted as missing before */
      continue;
    }
    if (memcmp(read_buffer + 4, patterns + (size_t)(number % PATTERNS) * payload + 4, payload - 4) != 0) mismatches++;
    histogram[bucket_of(now_ns() - p->slots[slot].sent_at)]++;
    messages++;
    p->slots[slot].sent_at = 0;
    if (sending) send_next(p, slot);
  }
}

static void look_for_lost(Peer *peers, uint32_t count) {
  uint64_t at = now_ns();
  for (uint32_t i = 0; i < count; i++) {
    for (uint32_t slot = 0; slot < outstanding; slot++) {
      uint64_t sent_at = peers[i].slots[slot].sent_at;
      if (!sent_at || at - sent_at < LATE_NS) continue;
      missing++;
      peers[i].slots[slot].sent_at = 0;
      if (sending) send_next(&peers[i], slot);
    }
  }
}

static void run_until(int epoll_fd, Peer *peers, uint32_t count, uint64_t deadline) {
  struct epoll_event events[MAX_EVENTS];
  uint64_t looked = now_ns(), t;
  while ((t = now_ns()) < deadline) {
    int n = epoll_wait(epoll_fd, events, MAX_EVENTS, 10);
    for (int i = 0; i < n; i++) receive(events[i].data.ptr);
    if (t - looked < LATE_NS / 4) continue;
    looked = t;
    look_for_lost(peers, count);
  }
}

int main(int argc, char **argv) {
  if ((argc != 8 && argc != 9) || strcmp(argv[1], "udp") != 0) {
    fprintf(stderr, "usage: %s udp port sockets outstanding payloadBytes warmupSeconds measureSeconds [serverPid]\n", argv[0]);
    return 1;
  }
  struct sockaddr_in server = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  server.sin_port = htons((uint16_t)number(argv[2], "port", 1, 65535));
  uint32_t count = (uint32_t)number(argv[3], "sockets", 1, 10000);
  outstanding = (uint32_t)number(argv[4], "outstanding", 1, MAX_OUTSTANDING);
  payload = (uint32_t)number(argv[5], "payloadBytes", 8, 65000);
  uint64_t warmup = (uint64_t)(number(argv[6], "warmupSeconds", 0, 60) * 1e9);
  uint64_t measure = (uint64_t)(number(argv[7], "measureSeconds", 0.05, 600) * 1e9);
  pid_t pid = argc == 9 ? (pid_t)number(argv[8], "serverPid", 1, 1 << 30) : 0;
  clockid_t server_clock = 0;
  if (pid && clock_getcpuclockid(pid, &server_clock) != 0) die("no such server process");

  patterns = must(malloc((size_t)PATTERNS * payload));
  read_buffer = must(malloc(payload + 1));
  uint64_t x = 0x9e3779b97f4a7c15ull;
  for (size_t i = 0; i < (size_t)PATTERNS * payload; i++) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    patterns[i] = (uint8_t)(x >> 32);
  }
  int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_fd < 0) die("epoll_create1");
  Peer *peers = must(calloc(count, sizeof *peers));
  for (uint32_t i = 0; i < count; i++) {
    Peer *p = &peers[i];
    if ((p->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) < 0) die("socket");
    if (connect(p->fd, (struct sockaddr *)&server, sizeof server) != 0) die("connect");
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = p};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, p->fd, &e) != 0) die("epoll_ctl");
    p->next = i * 7;
    for (uint32_t slot = 0; slot < outstanding; slot++) send_next(p, slot);
  }

  run_until(epoll_fd, peers, count, now_ns() + warmup);
  memset(histogram, 0, sizeof histogram);
  messages = missing = 0;
  uint64_t own_before = own_cpu_ns(), server_before = pid ? clock_ns(server_clock) : 0, start = now_ns();
  run_until(epoll_fd, peers, count, start + measure);
  Result result = {.messages = messages, .window_ns = now_ns() - start, .own_cpu_ns = own_cpu_ns() - own_before, .payload = payload};
  uint64_t server_after = pid ? clock_ns(server_clock) : 0;
  if (server_after > server_before) result.server_cpu_ns = server_after - server_before;
  sending = 0;
  run_until(epoll_fd, peers, count, now_ns() + LATE_NS + LATE_NS / 2);
  print_result(&result, percentile_us(0.5), percentile_us(0.99), percentile_us(0.999), mismatches, 0, missing, pid != 0);
  if (late) fprintf(stderr, "generator: %llu datagrams came late\n", (unsigned long long)late);
  return 0;
}
