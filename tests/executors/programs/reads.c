/* Reads stdin as its arguments say, and writes what comes back; no stdio, so that it imports no fd_close.
 *   all SIZE           read everything in pieces of SIZE bytes; writes their number, the total and a checksum
 *   g PAGES            grow the memory
 *   v AT START ROOM    put a vector at an address
 *   r FD VECTORS COUNT DONE   one read; writes its errno and the number at DONE
 *   loop               never end
 * Numbers may begin with `-`, and end in `e`, for "from the end of the memory on", or `a`, for "from the area on". At the end: the area's checksum. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

__attribute__((import_module("wasi_snapshot_preview1"), import_name("fd_read")))
int fd_read(uint32_t fd, uint32_t vectors, uint32_t count, uint32_t done);

enum { PAGE = 1 << 16 };
static uint8_t area[1 << 20] __attribute__((aligned(65536)));
static uint8_t buffer[4 << 20];
static volatile int forever = 1;

static uint32_t end(void) { return (uint32_t)__builtin_wasm_memory_size(0) * PAGE; }

static void number(uint32_t v) {
  char t[12];
  size_t i = sizeof t;
  t[--i] = ' ';
  do t[--i] = (char)('0' + v % 10); while (v /= 10);
  write(1, t + i, sizeof t - i);
}

static uint32_t parse(const char *t) {
  char *rest;
  long long v = strtoll(t, &rest, 10);
  return (uint32_t)v + (*rest == 'e' ? end() : *rest == 'a' ? (uint32_t)(uintptr_t)area : 0);
}

static uint32_t sum(const uint8_t *p, size_t n) {
  uint32_t h = 2166136261u;
  for (size_t i = 0; i < n; i++) h = (h ^ p[i]) * 16777619u;
  return h;
}

static void all(uint32_t size) {
  uint32_t total = 0, reads = 0;
  ssize_t n;
  while ((n = read(0, buffer + total, size < sizeof buffer - total ? size : sizeof buffer - total)) > 0) total += (uint32_t)n, reads++;
  number(reads);
  number(total);
  number(sum(buffer, total));
}

static int inside(uint32_t at, uint32_t size) { return at <= end() - size; }

int main(int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    if (!strcmp(argv[i], "loop")) while (forever) ;
    if (!strcmp(argv[i], "all")) all(parse(argv[++i]));
    else if (argv[i][0] == 'g') __builtin_wasm_memory_grow(0, parse(argv[++i]));
    else if (argv[i][0] == 'v') {
      uint32_t at = parse(argv[i + 1]), vector[2] = {parse(argv[i + 2]), parse(argv[i + 3])};
      i += 3;
      if (inside(at, sizeof vector)) memcpy((void *)(uintptr_t)at, vector, sizeof vector);
    } else if (argv[i][0] == 'r') {
      uint32_t done = parse(argv[i + 4]), n = 0;
      number((uint32_t)fd_read(parse(argv[i + 1]), parse(argv[i + 2]), parse(argv[i + 3]), done));
      i += 4;
      if (inside(done, sizeof n)) memcpy(&n, (void *)(uintptr_t)done, sizeof n);
      number(n);
    }
  }
  number(sum(area, sizeof area));
  return 0;
}
