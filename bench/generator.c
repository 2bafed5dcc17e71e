/*
 * Closed-loop load generator: one thread, epoll, echo of `uint32 BE length | payload` frames, every echoed byte compared.
 *
 *   generator host port connections outstanding payloadBytes warmupSeconds measureSeconds [serverPid]
 *
 * The frames of all connections come from one cyclic pattern; each connection starts at its own place in it. A connection is then
 * only two positions in the pattern, a batch of frames is one write, and checking is one memcmp per read. The cycle is longer than
 * the window, so a lost, repeated, swapped, cut or foreign frame shows up as different bytes.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define READ_BYTES (512 * 1024)
#define PATTERN_BYTES (1024 * 1024)
#define MAX_EVENTS 1024
#define SUB_BITS 6
#define SUB_COUNT (1 << SUB_BITS)
#define BUCKETS ((64 - SUB_BITS) * SUB_COUNT)
#define DRAIN_NS 5000000000ull
#define BUSY_PERCENT 92.0

typedef struct {
  int fd;
  int alive;
  int wants_out;
  size_t send_pos;     /* place in the pattern of the next byte to send */
  size_t recv_pos;     /* place in the pattern of the next byte expected */
  size_t pending;      /* bytes of released frames not yet taken by the kernel */
  size_t frame_offset; /* bytes already received of the frame being echoed */
  uint32_t in_flight;  /* frames released and not yet completely echoed */
  uint32_t head;       /* slot of the oldest frame in flight */
  uint64_t *sent_at;   /* release time of each frame in flight, a ring of `outstanding` slots */
} Conn;

static size_t frame_bytes, cycle_bytes;
static uint32_t outstanding, alive_count;
static uint8_t *pattern, *read_buffer;
static uint64_t histogram[BUCKETS], messages;
static uint64_t mismatches, disconnects;
static int epoll_fd, sending = 1;

static uint64_t clock_ns(clockid_t id) {
  struct timespec t;
  if (clock_gettime(id, &t) != 0) return 0;
  return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static uint64_t now_ns(void) { return clock_ns(CLOCK_MONOTONIC); }

static uint64_t own_cpu_ns(void) {
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return ((uint64_t)u.ru_utime.tv_sec + (uint64_t)u.ru_stime.tv_sec) * 1000000000ull +
         ((uint64_t)u.ru_utime.tv_usec + (uint64_t)u.ru_stime.tv_usec) * 1000ull;
}

static void die(const char *what) {
  fprintf(stderr, "generator: %s: %s\n", what, strerror(errno));
  exit(1);
}

static void *must(void *p) {
  if (!p) die("out of memory");
  return p;
}

static uint32_t bucket_of(uint64_t v) {
  if (v < SUB_COUNT) return (uint32_t)v;
  uint32_t shift = 63u - (uint32_t)__builtin_clzll(v) - SUB_BITS;
  return (shift + 1) * SUB_COUNT + (uint32_t)((v >> shift) - SUB_COUNT);
}

static double bucket_middle(uint32_t b) {
  if (b < SUB_COUNT) return b;
  uint32_t shift = b / SUB_COUNT - 1;
  return ((double)(b % SUB_COUNT + SUB_COUNT) + 0.5) * (double)(1ull << shift);
}

static double percentile_us(double p) {
  uint64_t total = 0, seen = 0;
  for (uint32_t i = 0; i < BUCKETS; i++) total += histogram[i];
  if (!total) return 0;
  for (uint32_t i = 0; i < BUCKETS; i++) {
    seen += histogram[i];
    if ((double)seen >= p * (double)total) return bucket_middle(i) / 1000.0;
  }
  return 0;
}

static void build_pattern(uint32_t payload) {
  size_t frames = PATTERN_BYTES / frame_bytes;
  if (frames > 1021) frames = 1021;
  if (frames < 2 * (size_t)outstanding + 1) frames = 2 * (size_t)outstanding + 1;
  cycle_bytes = frames * frame_bytes;
  pattern = must(malloc(cycle_bytes));
  for (size_t i = 0; i < frames; i++) {
    uint8_t *f = pattern + i * frame_bytes;
    uint32_t length = htonl(payload), sequence = htonl((uint32_t)i);
    uint64_t x = (i + 1) * 0x9e3779b97f4a7c15ull;
    memcpy(f, &length, 4);
    for (uint32_t j = 0; j < payload; j++) {
      x ^= x << 13;
      x ^= x >> 7;
      x ^= x << 17;
      f[4 + j] = (uint8_t)(x >> 32);
    }
    memcpy(f + 4, &sequence, payload < 4 ? payload : 4);
  }
}

static void watch(Conn *c, int op, int out) {
  struct epoll_event e = {.events = EPOLLIN | (out ? EPOLLOUT : 0), .data.ptr = c};
  if (epoll_ctl(epoll_fd, op, c->fd, &e) != 0) die("epoll_ctl");
  c->wants_out = out;
}

static void drop(Conn *c) {
  close(c->fd);
  c->alive = 0;
  alive_count--;
}

static void lost(Conn *c, const char *why) {
  if (disconnects++ == 0) fprintf(stderr, "generator: connection lost: %s\n", why);
  drop(c);
}

static void flush(Conn *c) {
  while (c->pending) {
    size_t first = cycle_bytes - c->send_pos;
    if (first > c->pending) first = c->pending;
    struct iovec v[2] = {{pattern + c->send_pos, first}, {pattern, c->pending - first}};
    ssize_t n = v[1].iov_len ? writev(c->fd, v, 2) : write(c->fd, v[0].iov_base, first);
    if (n < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN) return lost(c, strerror(errno));
      if (!c->wants_out) watch(c, EPOLL_CTL_MOD, 1);
      return;
    }
    c->pending -= (size_t)n;
    c->send_pos += (size_t)n;
    if (c->send_pos >= cycle_bytes) c->send_pos -= cycle_bytes;
  }
  if (c->wants_out) watch(c, EPOLL_CTL_MOD, 0);
}

static void release(Conn *c, uint32_t frames, uint64_t at) {
  uint32_t slot = c->head + c->in_flight;
  if (slot >= outstanding) slot -= outstanding;
  for (uint32_t i = 0; i < frames; i++) {
    c->sent_at[slot] = at;
    if (++slot == outstanding) slot = 0;
  }
  c->in_flight += frames;
  c->pending += (size_t)frames * frame_bytes;
  flush(c);
}

static int same_bytes(Conn *c, size_t got) {
  const uint8_t *p = read_buffer;
  size_t left = got;
  while (left) {
    size_t run = cycle_bytes - c->recv_pos;
    if (run > left) run = left;
    if (memcmp(p, pattern + c->recv_pos, run) != 0) return 0;
    p += run;
    left -= run;
    c->recv_pos += run;
    if (c->recv_pos == cycle_bytes) c->recv_pos = 0;
  }
  return 1;
}

/* Frames released in one batch share a time, so a whole run goes to the histogram at once. */
static void record(Conn *c, uint32_t frames, uint64_t at) {
  uint64_t run_time = c->sent_at[c->head];
  uint32_t run = 0;
  for (uint32_t i = 0; i < frames; i++) {
    uint64_t t = c->sent_at[c->head];
    if (t != run_time) {
      histogram[bucket_of(at - run_time)] += run;
      run_time = t;
      run = 0;
    }
    run++;
    if (++c->head == outstanding) c->head = 0;
  }
  histogram[bucket_of(at - run_time)] += run;
  messages += frames;
  c->in_flight -= frames;
}

static void receive(Conn *c) {
  ssize_t n = read(c->fd, read_buffer, READ_BYTES);
  if (n == 0) return lost(c, "closed by the server");
  if (n < 0) {
    if (errno == EAGAIN || errno == EINTR) return;
    return lost(c, strerror(errno));
  }
  size_t got = (size_t)n;
  size_t owed = (size_t)c->in_flight * frame_bytes - c->frame_offset - c->pending;
  if (got > owed || !same_bytes(c, got)) {
    if (mismatches++ == 0) fprintf(stderr, "generator: %s\n", got > owed ? "more bytes than were sent" : "different bytes came back");
    return drop(c);
  }
  size_t total = c->frame_offset + got;
  uint32_t done = (uint32_t)(total / frame_bytes);
  c->frame_offset = total - (size_t)done * frame_bytes;
  if (!done) return;
  uint64_t at = now_ns();
  record(c, done, at);
  if (sending) release(c, done, at);
}

static void turn(struct epoll_event *events, int timeout_ms) {
  int n = epoll_wait(epoll_fd, events, MAX_EVENTS, timeout_ms);
  if (n < 0 && errno != EINTR) die("epoll_wait");
  for (int i = 0; i < n; i++) {
    Conn *c = events[i].data.ptr;
    if (events[i].events & EPOLLOUT) flush(c);
    if (c->alive && (events[i].events & ~(uint32_t)EPOLLOUT)) receive(c);
  }
}

static uint64_t run_until(struct epoll_event *events, uint64_t deadline) {
  uint64_t t;
  while ((t = now_ns()) < deadline && alive_count) turn(events, (int)((deadline - t) / 1000000 + 1));
  return now_ns();
}

static void open_connection(Conn *c, uint32_t index, const struct sockaddr_in *server) {
  struct timeval limit = {.tv_sec = 10};
  int one = 1;
  c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (c->fd < 0) die("socket");
  /* One source address has about 28,000 local ports; the next 10,000 connections take the next address. */
  struct sockaddr_in source = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + index / 10000)};
  setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
  setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  if (bind(c->fd, (struct sockaddr *)&source, sizeof source) != 0) die("bind");
  if (connect(c->fd, (const struct sockaddr *)server, sizeof *server) != 0) die("connect");
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  fcntl(c->fd, F_SETFL, fcntl(c->fd, F_GETFL) | O_NONBLOCK);
  c->sent_at = must(calloc(outstanding, sizeof *c->sent_at));
  c->alive = 1;
  alive_count++;
  watch(c, EPOLL_CTL_ADD, 0);
}

/* Lets what is in flight come back; returns how many frames did not. */
static uint64_t drain(struct epoll_event *events, Conn *conns, uint32_t count) {
  uint64_t missing, deadline = now_ns() + DRAIN_NS;
  do {
    turn(events, 10);
    missing = 0;
    for (uint32_t i = 0; i < count; i++) missing += conns[i].alive ? conns[i].in_flight : 0;
  } while (missing && now_ns() < deadline);
  return missing;
}

/* One echo per connection, in groups: a longer burst overflows the listen backlog, and a server under load accepts slowly. */
static void open_connections(struct epoll_event *events, Conn *conns, uint32_t count, const struct sockaddr_in *server) {
  size_t frames = cycle_bytes / frame_bytes;
  sending = 0;
  for (uint32_t i = 0; i < count; i++) {
    open_connection(&conns[i], i, server);
    conns[i].send_pos = conns[i].recv_pos = (i * (size_t)7 % frames) * frame_bytes;
    release(&conns[i], 1, now_ns());
    if ((i % 64 == 63 || i + 1 == count) && drain(events, conns, i + 1)) {
      fprintf(stderr, "generator: the server does not answer\n");
      exit(1);
    }
  }
  sending = 1;
}

static double number(const char *text, const char *name, double min, double max) {
  char *end;
  double v = strtod(text, &end);
  if (end == text || *end || !(v >= min && v <= max)) {
    fprintf(stderr, "generator: %s must be a number from %g to %g, not '%s'\n", name, min, max, text);
    exit(1);
  }
  return v;
}

int main(int argc, char **argv) {
  if (argc != 8 && argc != 9) {
    fprintf(stderr, "usage: %s host port connections outstanding payloadBytes warmupSeconds measureSeconds [serverPid]\n", argv[0]);
    return 1;
  }
  if (strcmp(argv[1], "127.0.0.1") != 0) {
    fprintf(stderr, "generator: only 127.0.0.1 is allowed as host\n");
    return 1;
  }
  struct sockaddr_in server = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  server.sin_port = htons((uint16_t)number(argv[2], "port", 1, 65535));
  uint32_t connections = (uint32_t)number(argv[3], "connections", 1, 100000);
  outstanding = (uint32_t)number(argv[4], "outstanding", 1, 65536);
  uint32_t payload = (uint32_t)number(argv[5], "payloadBytes", 1, 16 * 1024 * 1024);
  uint64_t warmup = (uint64_t)(number(argv[6], "warmupSeconds", 0, 60) * 1e9);
  uint64_t measure = (uint64_t)(number(argv[7], "measureSeconds", 0.05, 600) * 1e9);
  pid_t pid = argc == 9 ? (pid_t)number(argv[8], "serverPid", 1, 1 << 30) : 0;
  /* The same counters as /proc/<pid>/stat, in nanoseconds instead of 10 ms ticks. */
  clockid_t server_clock = 0;
  if (pid && clock_getcpuclockid(pid, &server_clock) != 0) die("no such server process");

  signal(SIGPIPE, SIG_IGN);
  frame_bytes = 4 + (size_t)payload;
  read_buffer = must(malloc(READ_BYTES));
  build_pattern(payload);
  if ((epoll_fd = epoll_create1(EPOLL_CLOEXEC)) < 0) die("epoll_create1");
  Conn *conns = must(calloc(connections, sizeof *conns));
  struct epoll_event *events = must(calloc(MAX_EVENTS, sizeof *events));
  open_connections(events, conns, connections, &server);
  for (uint32_t i = 0; i < connections; i++) {
    if (conns[i].alive) release(&conns[i], outstanding, now_ns());
  }

  run_until(events, now_ns() + warmup);
  memset(histogram, 0, sizeof histogram);
  messages = 0;
  uint64_t own_before = own_cpu_ns(), server_before = pid ? clock_ns(server_clock) : 0, start = now_ns();
  uint64_t window = run_until(events, start + measure) - start + 1;
  uint64_t own_cpu = own_cpu_ns() - own_before, server_after = pid ? clock_ns(server_clock) : 0;
  /* A server that died has no clock any more. */
  uint64_t server_cpu = server_after > server_before ? server_after - server_before : 0;
  uint64_t counted = messages;
  double p50 = percentile_us(0.5), p99 = percentile_us(0.99), p999 = percentile_us(0.999);

  /* Every frame in flight must still come back: silence after the window is a loss, too. */
  sending = 0;
  uint64_t missing = drain(events, conns, connections);

  double seconds = (double)window / 1e9, own_percent = 100.0 * (double)own_cpu / (double)window;
  double server_percent = 100.0 * (double)server_cpu / (double)window;
  double rate = (double)counted / seconds;
  printf("{\"messages\":%llu,\"seconds\":%.4f,", (unsigned long long)counted, seconds);
  printf("\"messagesPerSecond\":%.1f,\"megabytesPerSecond\":%.2f,", rate, rate * payload / 1e6);
  printf("\"p50Us\":%.1f,\"p99Us\":%.1f,\"p999Us\":%.1f,", p50, p99, p999);
  unsigned long long bad = mismatches + disconnects + missing;
  printf("\"errors\":%llu,\"mismatches\":%llu,", bad, (unsigned long long)mismatches);
  printf("\"disconnects\":%llu,\"missing\":%llu,", (unsigned long long)disconnects, (unsigned long long)missing);
  printf("\"generatorCpuPercent\":%.1f,", own_percent);
  if (pid) {
    printf("\"serverCpuPercent\":%.1f,\"generatorBound\":%s}\n", server_percent,
           server_percent < BUSY_PERCENT && own_percent >= BUSY_PERCENT ? "true" : "false");
  } else {
    printf("\"serverCpuPercent\":null,\"generatorBound\":null}\n");
  }
  return 0;
}
