// Listeners for a sweep: listeners PORT OPEN SILENT
// OPEN listeners on 127.77.0.0 and every second address after it, which accept and hold each
// connection until the other side closes it; SILENT ones on 127.79.0.0 and after, whose accept queue
// is full, so that the kernel drops every SYN. Writes a line when all stand; ends with its stdin.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static int make(uint32_t address, int port, int backlog) {
  struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
  in.sin_addr.s_addr = htonl(address);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (fd < 0 || bind(fd, (void *)&in, sizeof in) || listen(fd, backlog)) {
    perror("listener");
    exit(1);
  }
  if (backlog == 0) {
    int fill = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fill, (void *)&in, sizeof in)) perror("fill");
  }
  return fd;
}

int main(int argc, char **argv) {
  if (argc != 4) return 64;
  int port = atoi(argv[1]), open = atoi(argv[2]), silent = atoi(argv[3]);
  int poll = epoll_create1(0), first_connection = 0;
  for (int i = 0; i < open; i++) {
    int fd = make(0x7f4d0000u + 2 * i, port, 128);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
    first_connection = fd + 1;
  }
  for (int i = 0; i < silent; i++) {
    int fd = make(0x7f4f0000u + i, port, 0);
    // The listener and the connection that fills it.
    first_connection = fd + 2;
  }
  struct epoll_event input = {.events = EPOLLIN, .data.fd = 0};
  epoll_ctl(poll, EPOLL_CTL_ADD, 0, &input);
  puts("ready");
  fflush(stdout);
  struct epoll_event events[256];
  for (;;) {
    int count = epoll_wait(poll, events, 256, -1);
    for (int i = 0; i < count; i++) {
      int fd = events[i].data.fd;
      if (fd == 0) return 0;
      char byte[256];
      if (fd >= first_connection) {
        if (read(fd, byte, sizeof byte) <= 0) close(fd);
        continue;
      }
      for (int accepted; (accepted = accept4(fd, 0, 0, SOCK_NONBLOCK)) >= 0;) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = accepted};
        epoll_ctl(poll, EPOLL_CTL_ADD, accepted, &event);
      }
    }
  }
}
