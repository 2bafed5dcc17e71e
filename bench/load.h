/* What the load generators share: clocks, the histogram of latencies, WebSocket framing of a client, the result as JSON. */
#pragma once
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


#define SUB_BITS 6
#define SUB_COUNT (1 << SUB_BITS)
#define BUCKETS ((64 - SUB_BITS) * SUB_COUNT)
#define BUSY_PERCENT 92.0

static uint64_t histogram[BUCKETS];

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

static double number(const char *text, const char *name, double min, double max) {
  char *end;
  double v = strtod(text, &end);
  if (end == text || *end || !(v >= min && v <= max)) {
    fprintf(stderr, "generator: %s must be a number from %g to %g, not '%s'\n", name, min, max, text);
    exit(1);
  }
  return v;
}

static inline size_t put_ws_header(uint8_t *f, uint32_t payload, int masked) {
  uint8_t mask = masked ? 0x80 : 0;
  f[0] = 0x82; /* the last part of a binary message */
  if (payload < 126) {
    f[1] = mask | (uint8_t)payload;
    return 2;
  }
  if (payload < 65536) {
    uint16_t length = htons((uint16_t)payload);
    f[1] = mask | 126;
    memcpy(f + 2, &length, 2);
    return 4;
  }
  uint64_t length = htobe64(payload);
  f[1] = mask | 127;
  memcpy(f + 2, &length, 8);
  return 10;
}

/* The opening handshake; the answer ends with an empty line, and nothing may follow it before a message was sent. */
static inline void upgrade(int fd) {
  static const char request[] = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
  char answer[4096];
  size_t got = 0;
  if (write(fd, request, sizeof request - 1) != (ssize_t)sizeof request - 1) die("upgrade");
  do {
    ssize_t n = read(fd, answer + got, sizeof answer - 1 - got);
    if (n <= 0) die("upgrade");
    got += (size_t)n;
    answer[got] = 0;
  } while (got < sizeof answer - 1 && !strstr(answer, "\r\n\r\n"));
  if (strncmp(answer, "HTTP/1.1 101", 12) != 0) {
    fprintf(stderr, "generator: the server refused the upgrade: %.60s\n", answer);
    exit(1);
  }
}

typedef struct {
  uint64_t messages, window_ns, own_cpu_ns, server_cpu_ns;
  uint32_t payload;
} Result;

static void print_result(const Result *r, double p50, double p99, double p999, uint64_t mismatches, uint64_t disconnects,
                         uint64_t missing, int has_server) {
  double window = (double)r->window_ns, own = 100.0 * (double)r->own_cpu_ns / window, server = 100.0 * (double)r->server_cpu_ns / window;
  double rate = (double)r->messages / (window / 1e9);
  unsigned long long bad = mismatches + disconnects + missing;
  printf("{\"messages\":%llu,\"seconds\":%.4f,", (unsigned long long)r->messages, window / 1e9);
  printf("\"messagesPerSecond\":%.1f,\"megabytesPerSecond\":%.2f,", rate, rate * r->payload / 1e6);
  printf("\"p50Us\":%.1f,\"p99Us\":%.1f,\"p999Us\":%.1f,", p50, p99, p999);
  printf("\"errors\":%llu,\"mismatches\":%llu,", bad, (unsigned long long)mismatches);
  printf("\"disconnects\":%llu,\"missing\":%llu,", (unsigned long long)disconnects, (unsigned long long)missing);
  printf("\"generatorCpuPercent\":%.1f,", own);
  if (has_server) {
    printf("\"serverCpuPercent\":%.1f,\"generatorBound\":%s}\n", server, server < BUSY_PERCENT && own >= BUSY_PERCENT ? "true" : "false");
  } else {
    printf("\"serverCpuPercent\":null,\"generatorBound\":null}\n");
  }
}
