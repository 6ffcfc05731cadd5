/* Does the one bad thing that the event's data.evil names; otherwise answers as a good step. */
#include "step.h"

static char big[1 << 20];
static volatile int forever = 1;
static char *volatile escaped;
static int deep(int n) { volatile char a[512]; a[0] = (char)n; return deep(n + 1) + a[0]; }

int main(int argc, char **argv) {
  (void)argc;
  (void)argv;
  event();
  if (has("\"evil\":\"long-line\"")) { memset(big, 'x', sizeof big); write(2, big, sizeof big); write(2, big, sizeof big); write(2, "\nnext\n", 6); while (forever) ; }
  if (has("\"evil\":\"loop\"")) while (forever) ;
  if (has("\"evil\":\"sleep\"")) { for (int i = 0; i < 5; i++) if (usleep(2000000) != 0) { fprintf(stderr, "cannot sleep\n"); exit(7); } }
  if (has("\"evil\":\"memory\"")) for (;;) { char *p = escaped = malloc(1 << 20); if (!p) exit(8); memset(p, 1, 1 << 20); }
  if (has("\"evil\":\"memory-trap\"")) for (;;) { char *p = escaped = malloc(1 << 20); if (p) memset(p, 1, 1 << 20); if (!p) __builtin_trap(); }
  if (has("\"evil\":\"stdout\"")) for (;;) write(1, big, sizeof big);
  if (has("\"evil\":\"stdout-text\"")) { memset(big, 'a', sizeof big); for (;;) write(1, big, sizeof big); }
  if (has("\"evil\":\"stderr\"")) { memset(big, 'e', sizeof big); for (;;) write(2, big, sizeof big); }
  if (has("\"evil\":\"bytes\"")) {
    memset(big, 'x', sizeof big);
    for (int i = 0;; i++) {
      char name[64];
      snprintf(name, sizeof name, "/outputs/%d", i);
      int fd = open(name, O_WRONLY | O_CREAT, 0644);
      if (fd >= 0) for (int k = 0; k < 64; k++) if (write(fd, big, sizeof big) < 0) break;
      if (fd >= 0) close(fd);
    }
  }
  if (has("\"evil\":\"one-big-file\"")) {
    int fd = open("/outputs/f", O_WRONLY | O_CREAT, 0644);
    for (int k = 0; k < 64; k++) if (write(fd, big, sizeof big) < 0) { fprintf(stderr, "errno %d\n", errno); exit(6); }
  }
  if (has("\"evil\":\"unlinked\"")) {
    for (int i = 0; i < 10000; i++) {
      int fd = open("/outputs/f", O_WRONLY | O_CREAT, 0644);
      if (fd < 0) { fprintf(stderr, "after %d: errno %d\n", i, errno); exit(6); }
      write(fd, big, sizeof big);
      unlink("/outputs/f");
    }
  }
  if (has("\"evil\":\"files\"")) for (int i = 0;; i++) { char name[64]; snprintf(name, sizeof name, "/outputs/%d", i); put(name, "x"); }
  if (has("\"evil\":\"folders\"")) for (;;) { if (mkdir("/outputs/d", 0755) == 0) { char deepest[4096] = "/outputs/d"; for (int i = 0; i < 1000; i++) { strcat(deepest, "/d"); mkdir(deepest, 0755); } } }
  if (has("\"evil\":\"descriptors\"")) { put("/outputs/f", "x"); int n = 0; while (open("/outputs/f", O_RDONLY) >= 0) n++; fprintf(stderr, "%d\n", n); exit(5); }
  if (has("\"evil\":\"crash\"")) __builtin_trap();
  if (has("\"evil\":\"stack\"")) return deep(0);
  if (has("\"evil\":\"exit\"")) exit(3);
  if (has("\"evil\":\"exit-high\"")) exit(200);
  if (has("\"evil\":\"silence\"")) return 0;
  if (has("\"evil\":\"garbage\"")) { puts("hello"); return 0; }
  if (has("\"evil\":\"nul\"")) { write(1, "{\0}\n", 4); return 0; }
  if (has("\"evil\":\"newlines\"")) { memset(big, '\n', sizeof big); write(1, big, 60000); return 0; }
  if (has("\"evil\":\"empty-log-lines\"")) { memset(big, '\n', sizeof big); write(2, big, 60000); answer(0, 0); return 0; }
  if (has("\"evil\":\"banner\"")) { puts("a library's banner"); answer(0, 0); puts("more of it"); return 0; }
  if (has("\"evil\":\"env\"")) { fprintf(stderr, "%s\n", getenv("HELLO")); answer(0, 0); return 0; }
  if (has("\"evil\":\"ready\"")) { puts("{\"ready\": true}"); fflush(stdout); answer(0, 0); return 0; }
  if (has("\"evil\":\"only-ready\"")) { puts("{\"ready\": true}"); return 0; }
  if (has("\"evil\":\"two\"")) { answer(0, 0); answer(0, 0); return 0; }
  if (has("\"evil\":\"other\"")) { strcpy(id, "other"); answer(0, 0); return 0; }
  if (has("\"evil\":\"error\"")) { printf("{\"id\":\"%s\",\"error\":\"no\"}\n", id); return 0; }
  if (has("\"evil\":\"shape\"")) { printf("{\"id\":\"%s\",\"events\":{}}\n", id); return 0; }
  if (has("\"evil\":\"foreign-blob\"")) { printf("{\"id\":\"%s\",\"events\":[{\"type\":\"t\",\"data\":{\"blobs\":[{\"cid\":\"bafy\"}]}}]}\n", id); return 0; }
  printf("{\"id\":\"%s\",\"events\":[]}\n", id);
  return 0;
}
