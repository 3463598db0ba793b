import Evidence
import PacketProbe

extension Counters {
  /// The books of a capture file.
  init(packets: TrackerCounters) {
    self.init(
      source: "packets", seen: packets.packets, lost: 0,
      details: [
        "connections": packets.connections, "other TCP": packets.otherTCP,
        "not TCP": packets.notIP + packets.notTCP, "fragments": packets.fragments,
        "tunnels": packets.tunnels, "duplicates": packets.duplicates, "evicted": packets.evicted,
        "cut": packets.truncated, "malformed": packets.malformed + packets.unknownLink,
      ])
  }
}
