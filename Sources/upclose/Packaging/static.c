// Debian's libpcap.a can also capture from D-Bus, Bluetooth, USB and netfilter's log, and so wants
// libdbus. upclose captures from network interfaces: for it there are no such devices. The archive's
// own members are taken out of a copy of it.
struct pcap;
struct pcap_if_list;

#define NO_DEVICES(kind)                                                            \
  struct pcap *kind##_create(const char *device, char *error, int *is_ours) {       \
    (void)device, (void)error;                                                      \
    *is_ours = 0;                                                                   \
    return 0;                                                                       \
  }                                                                                 \
  int kind##_findalldevs(struct pcap_if_list *devices, char *error) {               \
    (void)devices, (void)error;                                                     \
    return 0;                                                                       \
  }

NO_DEVICES(bt)
NO_DEVICES(bt_monitor)
NO_DEVICES(dbus)
NO_DEVICES(netfilter)
NO_DEVICES(usb)
