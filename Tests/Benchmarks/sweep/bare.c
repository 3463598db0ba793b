// The least that a sweep can be: bare TIMEOUT_MS IN_FLIGHT < targets > verdicts
// Non-blocking connects on one epoll; no connect time, no reason, no early close.
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static char (*names)[32];
static void tell(int target, const char *verdict) { printf("%s %s\n", names[target], verdict); }

int main(int argc, char **argv) {
  if (argc != 3) return 64;
  double timeout = atof(argv[1]);
  int limit = atoi(argv[2]), count = 0, capacity = 0;
  struct sockaddr_in *targets = 0;
  char line[64];
  while (fgets(line, sizeof line, stdin)) {
    if (count == capacity) {
      capacity = capacity ? capacity * 2 : 1024;
      targets = realloc(targets, capacity * sizeof *targets);
      names = realloc(names, capacity * sizeof *names);
    }
    line[strcspn(line, "\n")] = 0;
    snprintf(names[count], sizeof *names, "%s", line);
    char *colon = strrchr(line, ':');
    *colon = 0;
    targets[count] = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(atoi(colon + 1))};
    inet_pton(AF_INET, line, &targets[count].sin_addr);
    count++;
  }
  int poll = epoll_create1(0), next = 0, pending = 0, oldest = 0;
  int *target_of = calloc(65536, sizeof(int)), *fd_of = malloc((count + 1) * sizeof(int));
  double *began = malloc((count + 1) * sizeof(double));
  struct epoll_event events[512];
  memset(fd_of, -1, count * sizeof(int));
  while (next < count || pending > 0) {
    for (; next < count && pending < limit; next++) {
      int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
      if (fd < 0) break;
      began[next] = now();
      if (connect(fd, (void *)&targets[next], sizeof *targets) && errno != EINPROGRESS) {
        tell(next, "closed");
        close(fd);
        continue;
      }
      struct epoll_event event = {.events = EPOLLOUT, .data.fd = fd};
      epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
      target_of[fd] = next;
      fd_of[next] = fd;
      pending++;
    }
    while (oldest < next && fd_of[oldest] < 0) oldest++;
    double left = oldest < next ? began[oldest] + timeout - now() : 0;
    int ready = epoll_wait(poll, events, 512, left > 0 ? (int)left + 1 : 0);
    for (int i = 0; i < ready; i++) {
      int fd = events[i].data.fd, error = 0;
      socklen_t size = sizeof error;
      getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
      tell(target_of[fd], error == 0 ? "open" : error == ECONNREFUSED ? "closed" : "filtered");
      close(fd);
      fd_of[target_of[fd]] = -1;
      pending--;
    }
    for (int i = oldest; i < next && now() - began[i] >= timeout; i++) {
      if (fd_of[i] < 0) continue;
      tell(i, "filtered");
      close(fd_of[i]);
      fd_of[i] = -1;
      pending--;
    }
  }
  return 0;
}
