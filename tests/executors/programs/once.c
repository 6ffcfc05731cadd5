/* A `once` program: its first argument says what it does. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
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

static int exists(const char *path) { int fd = open(path, O_RDONLY); if (fd >= 0) close(fd); return fd >= 0; }

/* Runs until the file "go" is there. The token tells one run from another. */
static int wait_for_go(const char *code) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  printf("started %lld.%09ld\n", (long long)now.tv_sec, now.tv_nsec);
  fflush(stdout);
  FILE *out = fopen("/outputs/run.txt", "w");
  fprintf(out, "%lld.%09ld\n", (long long)now.tv_sec, now.tv_nsec);
  fclose(out);
  while (!exists("/inputs/go")) {}
  if (!strcmp(code, "flood")) for (;;) { memset(buffer, 'x', sizeof buffer); buffer[99] = '\n'; fwrite(buffer, 1, sizeof buffer, stdout); }
  puts("finished");
  fputs("its last words\n", stderr);
  return atoi(code);
}

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
  if (!strcmp(mode, "long-line")) { for (int i = 0; i < 31; i++) fwrite(buffer, 1, sizeof buffer, stdout); puts("\nsecond"); fflush(stdout); spin(); spin(); }
  if (!strcmp(mode, "loop")) for (;;) {}
  if (!strcmp(mode, "flood")) for (;;) { memset(buffer, 'x', sizeof buffer); buffer[99] = '\n'; fwrite(buffer, 1, sizeof buffer, stdout); }
  if (!strcmp(mode, "newlines")) for (;;) { memset(buffer, '\n', sizeof buffer); fwrite(buffer, 1, sizeof buffer, stdout); }
  if (!strcmp(mode, "files")) for (int i = 0; i < 33; i++) { snprintf(buffer, sizeof buffer, "/outputs/%d", i); close(open(buffer, O_WRONLY | O_CREAT, 0644)); }
  if (!strcmp(mode, "env")) printf("%s\n", getenv("HELLO"));
  if (!strcmp(mode, "limit")) {
    int fd = open("/outputs/full", O_WRONLY | O_CREAT, 0644);
    while (write(fd, buffer, sizeof buffer) > 0) {}
  }
  if (!strcmp(mode, "spoil")) { printf("%d\n", open("/inputs/a.txt", O_WRONLY) < 0 && open("/new", O_WRONLY | O_CREAT, 0644) < 0); }
  if (!strcmp(mode, "wait")) return wait_for_go(argv[2]);
  if (!strcmp(mode, "record")) printf("%d\n", exists("/handle") || exists("/../handle") || exists("/inputs/../../handle") || exists("/outputs/../../handle") || exists("/stdout"));
  if (!strcmp(mode, "crash")) __builtin_trap();
  return 0;
}
