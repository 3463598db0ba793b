import Evidence
import Testing

@testable import PacketProbe

/// The kernel's filter, in libpcap's words.
@Suite struct FilterTests {
  private let upstream = UpstreamFilter(
    endpoints: [Endpoint(address: IPAddress(v4: 0x0a00_0001), port: 8080)])

  @Test func `an upstream is an address and a port on the same side`() {
    #expect(
      CaptureFilter.expression(upstream)
        == "((tcp src port 8080 and (src host 10.0.0.1)) or "
        + "(tcp dst port 8080 and (dst host 10.0.0.1)))")
  }

  @Test func `light names the flags of IPv6 by their place`() {
    #expect(
      CaptureFilter.expression(UpstreamFilter(ports: [80]), isLight: true)
        == "(tcp port 80) and (tcp[tcpflags] & 7 != 0 or (ip6 proto 6 and ip6[53] & 7 != 0))")
  }

  @Test func `on all interfaces the loopback's outgoing copies are left out`() {
    #expect(
      CaptureFilter.expression(nil, isCooked: true) == "(tcp) and not (ifindex 1 and outbound)")
  }
}
