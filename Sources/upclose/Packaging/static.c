// Debian's libpcap.a can capture from D-Bus, and so wants libdbus, whose server side asks systemd for
// its sockets. upclose serves nothing on D-Bus: there are none.
int sd_listen_fds(int unset_environment) {
  (void)unset_environment;
  return 0;
}

int sd_is_socket(int fd, int family, int type, int listening) {
  (void)fd, (void)family, (void)type, (void)listening;
  return 0;
}
