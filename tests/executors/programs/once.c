/* A `once` program: its first argument says what it does. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char buffer[1 << 16];

static void copy(const char *from, const char *to) {
  FILE *in = fopen(from, "r"), *out = fopen(to, "w");
  if (!in || !out) { fprintf(stderr, "%s or %s: errno %d\n", from, to, errno); exit(9); }
  size_t n;
  while ((n = fread(buffer, 1, sizeof buffer, in)) > 0) fwrite(buffer, 1, n, out);
  fclose(in);
  fclose(out);
}

static void spin(void) { for (volatile long i = 0; i < 300000000; i++) {} }

int main(int argc, char **argv) {
  const char *mode = argc > 1 ? argv[1] : "";
  if (!strcmp(mode, "copy")) {
    copy("/inputs/a.txt", "/outputs/b.txt");
    copy(getenv("EDGE_EVENT"), "/outputs/event.json");
    puts("copied");
    fprintf(stderr, "%s %s\n", getenv("EDGE_INPUTS"), getenv("EDGE_OUTPUTS"));
  }
  if (!strcmp(mode, "exit")) { fputs("it broke\n", stderr); return 3; }
  if (!strcmp(mode, "slow")) { puts("first"); fflush(stdout); spin(); spin(); puts("second"); }
  if (!strcmp(mode, "loop")) for (;;) {}
  if (!strcmp(mode, "flood")) for (;;) { memset(buffer, 'x', sizeof buffer); buffer[99] = '\n'; fwrite(buffer, 1, sizeof buffer, stdout); }
  if (!strcmp(mode, "limit")) {
    int fd = open("/outputs/full", O_WRONLY | O_CREAT, 0644);
    while (write(fd, buffer, sizeof buffer) > 0) {}
  }
  if (!strcmp(mode, "spoil")) { printf("%d\n", open("/inputs/a.txt", O_WRONLY) < 0 && open("/new", O_WRONLY | O_CREAT, 0644) < 0); }
  if (!strcmp(mode, "crash")) __builtin_trap();
  return 0;
}
