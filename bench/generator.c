/*
 * Closed-loop load generator: one thread, epoll, every echoed byte compared.
 *
 *   generator tcp|ws port connections outstanding payloadBytes warmupSeconds measureSeconds [serverPid]
 *
 * tcp: frames of `uint32 BE length | payload`. ws: masked binary WebSocket messages out, unmasked ones back (RFC 6455), on `/`.
 * The server is on 127.0.0.1. The frames of all connections come from one cyclic pattern; each connection starts at its own place
 * in it. A connection is then only two positions in the pattern, a batch of frames is one write, and checking is one memcmp per
 * read. The cycle is longer than the window, so a lost, repeated, swapped, cut or foreign frame shows up as different bytes.
 */
#include "load.h"

#define READ_BYTES (512 * 1024)
#define PATTERN_BYTES (1024 * 1024)
#define MAX_EVENTS 1024
#define DRAIN_NS 5000000000ull

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

/* What goes out and what has to come back: the same payloads in frames of different sizes. */
typedef struct {
  uint8_t *bytes;
  size_t frame, cycle;
} Pattern;

static Pattern out, in;
static int is_ws;
static uint32_t outstanding, alive_count;
static uint8_t *read_buffer;
static uint64_t messages;
static uint64_t mismatches, disconnects;
static int epoll_fd, sending = 1;

static size_t put_header(uint8_t *f, uint32_t payload, int masked) {
  if (is_ws) return put_ws_header(f, payload, masked);
  uint32_t length = htonl(payload);
  memcpy(f, &length, 4);
  return 4;
}

static void build_patterns(uint32_t payload) {
  uint8_t header[16];
  size_t mask_bytes = is_ws ? 4 : 0;
  in.frame = put_header(header, payload, 0) + payload;
  out.frame = in.frame + mask_bytes;
  size_t frames = PATTERN_BYTES / in.frame;
  if (frames > 1021) frames = 1021;
  if (frames < 2 * (size_t)outstanding + 1) frames = 2 * (size_t)outstanding + 1;
  in.cycle = frames * in.frame;
  out.cycle = frames * out.frame;
  in.bytes = must(malloc(in.cycle));
  out.bytes = must(malloc(out.cycle));
  for (size_t i = 0; i < frames; i++) {
    uint8_t *to = out.bytes + i * out.frame, *back = in.bytes + i * in.frame, *mask;
    uint32_t sequence = htonl((uint32_t)i);
    uint64_t x = (i + 1) * 0x9e3779b97f4a7c15ull;
    back += put_header(back, payload, 0);
    to += put_header(to, payload, 1);
    mask = to;
    for (size_t j = 0; j < mask_bytes; j++) *to++ = (uint8_t)(x >> (8 * j + 5));
    for (uint32_t j = 0; j < payload; j++) {
      x ^= x << 13;
      x ^= x >> 7;
      x ^= x << 17;
      back[j] = (uint8_t)(x >> 32);
    }
    memcpy(back, &sequence, payload < 4 ? payload : 4);
    for (uint32_t j = 0; j < payload; j++) to[j] = back[j] ^ (is_ws ? mask[j & 3] : 0);
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
    size_t first = out.cycle - c->send_pos;
    if (first > c->pending) first = c->pending;
    struct iovec v[2] = {{out.bytes + c->send_pos, first}, {out.bytes, c->pending - first}};
    ssize_t n = v[1].iov_len ? writev(c->fd, v, 2) : write(c->fd, v[0].iov_base, first);
    if (n < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN) return lost(c, strerror(errno));
      if (!c->wants_out) watch(c, EPOLL_CTL_MOD, 1);
      return;
    }
    c->pending -= (size_t)n;
    c->send_pos += (size_t)n;
    if (c->send_pos >= out.cycle) c->send_pos -= out.cycle;
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
  c->pending += (size_t)frames * out.frame;
  flush(c);
}

static int same_bytes(Conn *c, size_t got) {
  const uint8_t *p = read_buffer;
  size_t left = got;
  while (left) {
    size_t run = in.cycle - c->recv_pos;
    if (run > left) run = left;
    if (memcmp(p, in.bytes + c->recv_pos, run) != 0) return 0;
    p += run;
    left -= run;
    c->recv_pos += run;
    if (c->recv_pos == in.cycle) c->recv_pos = 0;
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
  /* Frames of which the kernel has taken nothing yet cannot come back. */
  size_t owed = ((size_t)c->in_flight - c->pending / out.frame) * in.frame - c->frame_offset;
  if (got > owed || !same_bytes(c, got)) {
    if (mismatches++ == 0) fprintf(stderr, "generator: %s\n", got > owed ? "more bytes than were sent" : "different bytes came back");
    return drop(c);
  }
  size_t total = c->frame_offset + got;
  uint32_t done = (uint32_t)(total / in.frame);
  c->frame_offset = total - (size_t)done * in.frame;
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
  if (is_ws) upgrade(c->fd);
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
  size_t frames = in.cycle / in.frame;
  sending = 0;
  for (uint32_t i = 0; i < count; i++) {
    open_connection(&conns[i], i, server);
    conns[i].send_pos = (i * (size_t)7 % frames) * out.frame;
    conns[i].recv_pos = (i * (size_t)7 % frames) * in.frame;
    release(&conns[i], 1, now_ns());
    if ((i % 64 == 63 || i + 1 == count) && drain(events, conns, i + 1)) {
      fprintf(stderr, "generator: the server does not answer\n");
      exit(1);
    }
  }
  sending = 1;
}

int main(int argc, char **argv) {
  if (argc != 8 && argc != 9) {
    fprintf(stderr, "usage: %s tcp|ws port connections outstanding payloadBytes warmupSeconds measureSeconds [serverPid]\n", argv[0]);
    return 1;
  }
  is_ws = strcmp(argv[1], "ws") == 0;
  if (!is_ws && strcmp(argv[1], "tcp") != 0) {
    fprintf(stderr, "generator: the protocol must be tcp or ws, not '%s'\n", argv[1]);
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
  read_buffer = must(malloc(READ_BYTES));
  build_patterns(payload);
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

  Result result = {.messages = counted, .window_ns = window, .own_cpu_ns = own_cpu, .server_cpu_ns = server_cpu, .payload = payload};
  print_result(&result, p50, p99, p999, mismatches, disconnects, missing, pid != 0);
  return 0;
}
