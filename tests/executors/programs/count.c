/* A source filter: one event for every line with "hit"; arguments choose how it misbehaves. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char text[4 << 20];
static volatile int forever = 1;

int main(int argc, char **argv) {
  const char *mode = argc > 1 ? argv[1] : "";
  size_t n = 0;
  ssize_t r;
  while ((r = read(0, text + n, sizeof text - 1 - n)) > 0) n += (size_t)r;
  if (!strcmp(mode, "loop")) while (forever) ;
  if (!strcmp(mode, "crash")) __builtin_trap();
  if (!strcmp(mode, "garbage")) { puts("no"); return 0; }
  if (!strcmp(mode, "beyond")) { puts("{\"line\":99999,\"type\":\"t\"}"); return 0; }
  if (!strcmp(mode, "zero")) { puts("{\"line\":0,\"type\":\"t\"}"); return 0; }
  if (!strcmp(mode, "type")) { puts("{\"line\":1,\"type\":\"bad type\"}"); return 0; }
  if (!strcmp(mode, "flood")) for (;;) puts("{\"line\":1,\"type\":\"t\"}");
  if (!strcmp(mode, "log")) fprintf(stderr, "first\nsecond");
  if (!strcmp(mode, "env")) fprintf(stderr, "%s\n", getenv("HELLO"));
  int number = 1, state = 0;
  for (char *p = text, *end; p < text + n; p = end + 1, number++) {
    end = memchr(p, '\n', (size_t)(text + n - p));
    if (!end) end = text + n;
    *end = 0;
    /* "state" remembers one line when it reads the next: what a filter must not do. */
    if (strstr(p, "hit") || (state && !strcmp(mode, "state"))) printf("{\"line\":%d,\"type\":\"t.hit\"}\n", number);
    state = strstr(p, "hit") != 0;
  }
  if (!strcmp(mode, "partial")) { fflush(stdout); exit(3); }
  return 0;
}
