import Evidence
import Glibc
import Testing

@testable import TraceProbe

/// Text and records as kernels write them.
@Suite struct TraceFormatTests {
  /// sock/inet_sock_set_state of Linux 4.16 to 6.18.
  static let state = """
    name: inet_sock_set_state
    ID: 2287
    format:
    \tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
    \tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
    \tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
    \tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

    \tfield:const void * skaddr;\toffset:8;\tsize:8;\tsigned:0;
    \tfield:int oldstate;\toffset:16;\tsize:4;\tsigned:1;
    \tfield:int newstate;\toffset:20;\tsize:4;\tsigned:1;
    \tfield:__u16 sport;\toffset:24;\tsize:2;\tsigned:0;
    \tfield:__u16 dport;\toffset:26;\tsize:2;\tsigned:0;
    \tfield:__u16 family;\toffset:28;\tsize:2;\tsigned:0;
    \tfield:__u16 protocol;\toffset:30;\tsize:2;\tsigned:0;
    \tfield:__u8 saddr[4];\toffset:32;\tsize:4;\tsigned:0;
    \tfield:__u8 daddr[4];\toffset:36;\tsize:4;\tsigned:0;
    \tfield:__u8 saddr_v6[16];\toffset:40;\tsize:16;\tsigned:0;
    \tfield:__u8 daddr_v6[16];\toffset:56;\tsize:16;\tsigned:0;

    print fmt: "family=%s", REC->family
    """

  /// tcp/tcp_send_reset of Linux 4.16 to 6.9 (include/trace/events/tcp.h, class tcp_event_sk_skb).
  static let oldReset = """
    name: tcp_send_reset
    ID: 1400
    format:
    \tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
    \tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
    \tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
    \tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

    \tfield:const void * skbaddr;\toffset:8;\tsize:8;\tsigned:0;
    \tfield:const void * skaddr;\toffset:16;\tsize:8;\tsigned:0;
    \tfield:int state;\toffset:24;\tsize:4;\tsigned:1;
    \tfield:__u16 sport;\toffset:28;\tsize:2;\tsigned:0;
    \tfield:__u16 dport;\toffset:30;\tsize:2;\tsigned:0;
    \tfield:__u8 saddr[4];\toffset:32;\tsize:4;\tsigned:0;
    \tfield:__u8 daddr[4];\toffset:36;\tsize:4;\tsigned:0;
    \tfield:__u8 saddr_v6[16];\toffset:40;\tsize:16;\tsigned:0;
    \tfield:__u8 daddr_v6[16];\toffset:56;\tsize:16;\tsigned:0;

    print fmt: "sport=%hu", REC->sport
    """

  /// tcp/tcp_send_reset of Linux 6.10 and later.
  static let newReset = """
    name: tcp_send_reset
    ID: 2280
    format:
    \tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
    \tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
    \tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
    \tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

    \tfield:const void * skbaddr;\toffset:8;\tsize:8;\tsigned:0;
    \tfield:const void * skaddr;\toffset:16;\tsize:8;\tsigned:0;
    \tfield:int state;\toffset:24;\tsize:4;\tsigned:1;
    \tfield:enum sk_rst_reason reason;\toffset:28;\tsize:4;\tsigned:0;
    \tfield:__u8 saddr[28];\toffset:32;\tsize:28;\tsigned:0;
    \tfield:__u8 daddr[28];\toffset:60;\tsize:28;\tsigned:0;

    print fmt: "state=%s reason=%s", REC->state ? __print_symbolic(REC->state, { 1, "X" }) : "U", \
    __print_symbolic(REC->reason, { 0, "NOT_SPECIFIED" }, { 1, "NO_SOCKET" }, { 11, "TCP_ABORT_ON_CLOSE" })
    """

  /// oom/mark_victim since Linux 6.9.
  static let victim = """
    name: mark_victim
    ID: 609
    format:
    \tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
    \tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
    \tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

    \tfield:int pid;\toffset:8;\tsize:4;\tsigned:1;
    \tfield:__data_loc char[] comm;\toffset:12;\tsize:4;\tsigned:0;
    \tfield:unsigned long total_vm;\toffset:16;\tsize:8;\tsigned:0;
    \tfield:unsigned long anon_rss;\toffset:24;\tsize:8;\tsigned:0;
    \tfield:unsigned long file_rss;\toffset:32;\tsize:8;\tsigned:0;
    \tfield:unsigned long shmem_rss;\toffset:40;\tsize:8;\tsigned:0;

    print fmt: "pid=%d", REC->pid
    """

  private static let client = endpoint("10.0.0.1:40001")
  private static let server = endpoint("10.0.0.2:8080")
  static func endpoint(_ text: String) -> Endpoint {
    Endpoint(text) ?? Endpoint(address: IPAddress(v4: 0), port: 0)
  }

  @Test func `fields with bounds before and behind the name are read`() throws {
    let format = try #require(TraceFormat(Self.victim))
    #expect(format.id == 609)
    #expect(
      format.fields["comm"]
        == TraceFormat.Field(offset: 12, size: 4, declaration: "__data_loc char[] comm"))
    let state = try #require(TraceFormat(Self.state))
    #expect(state.fields["saddr_v6"]?.offset == 40)
    #expect(state.fields["skaddr"]?.size == 8)
  }

  @Test func `names of reasons come from the kernel's own text`() throws {
    let format = try #require(TraceFormat(Self.newReset))
    #expect(
      format.names(of: "reason") == [
        0: "NOT_SPECIFIED", 1: "NO_SOCKET", 11: "TCP_ABORT_ON_CLOSE",
      ])
    #expect(format.names(of: "nothing") == [:])
  }

  @Test(
    arguments: [
      "", "ID: 7", "ID: 70000\n\tfield:int x;\toffset:0;\tsize:4;", "field:;offset:1;size:1;",
      "ID: 1\n\tfield:int x;\toffset:-1;\tsize:4;", "ID: 1\n\tfield:int x;\tsize:4;",
    ])
  func `text that is no format is none`(_ text: String) {
    #expect(TraceFormat(text) == nil)
  }

  @Test func `a state's record gives both ends, also over IPv6`() throws {
    let decoder = TraceDecoder([.state: try #require(TraceFormat(Self.state))])
    let event = try #require(
      decode(decoder, record(id: 2287, flags: 0, thread: 77, from: 1, to: 4, family: 2)))
    #expect(
      event
        == TraceEvent(
          time: 5, thread: 77, isInterrupt: false,
          kind: .state(
            socket: 0xff, from: .established, to: .finWait1, local: Self.server,
            remote: Self.client)))
  }

  @Test(arguments: [(0x08, true), (0x10, true), (0x40, true), (0x80, false), (0x01, false)])
  func `only an interrupt's thread is disbelieved`(_ flags: Int, _ isInterrupt: Bool) throws {
    let decoder = TraceDecoder([.state: try #require(TraceFormat(Self.state))])
    let event = decode(
      decoder, record(id: 2287, flags: UInt8(flags), thread: 77, from: 1, to: 4, family: 2))
    #expect(event?.isInterrupt == isInterrupt)
  }

  @Test func `a record that is cut, of another event or of another protocol is none`() throws {
    let decoder = TraceDecoder([.state: try #require(TraceFormat(Self.state))])
    let whole = record(id: 2287, flags: 0, thread: 77, from: 1, to: 4, family: 2)
    for length in 0..<40 {
      #expect(decode(decoder, Array(whole[..<length])) == nil, "\(length) bytes")
    }
    // The first form of the addresses is there twice: what is whole is enough.
    for length in 40..<72 {
      #expect(decode(decoder, Array(whole[..<length])) == decode(decoder, whole))
    }
    #expect(decode(decoder, record(id: 9, flags: 0, thread: 7, from: 1, to: 4, family: 2)) == nil)
    #expect(
      decode(decoder, record(id: 2287, flags: 0, thread: 7, from: 1, to: 99, family: 2)) == nil)
  }

  @Test func `both forms of a reset are read`() throws {
    var old = record(id: 1400, flags: 0, thread: 77, from: 0, to: 0, family: 2)
    // skbaddr, skaddr, state, ports.
    old.replaceSubrange(
      16..<32, with: [0xee, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0x90, 0x1f, 0x41, 0x9c])
    let oldDecoder = TraceDecoder([.resetSent: try #require(TraceFormat(Self.oldReset))])
    #expect(
      decode(oldDecoder, old)?.kind
        == .resetSent(
          socket: 0xee, state: .close, reason: nil, local: Self.server, remote: Self.client))

    var new = [UInt8](repeating: 0, count: 88)
    new.replaceSubrange(0..<8, with: [0xe8, 8, 0, 0, 77, 0, 0, 0])
    new.replaceSubrange(24..<32, with: [0, 0, 0, 0, 1, 0, 0, 0])
    new.replaceSubrange(32..<40, with: [2, 0, 0x1f, 0x90, 10, 0, 0, 2])
    new.replaceSubrange(60..<68, with: [2, 0, 0x9c, 0x41, 10, 0, 0, 1])
    let newDecoder = TraceDecoder([.resetSent: try #require(TraceFormat(Self.newReset))])
    #expect(
      decode(newDecoder, new)?.kind
        == .resetSent(socket: 0, state: nil, reason: 1, local: Self.server, remote: Self.client))
  }

  @Test func `a victim's command is found where its field points`() throws {
    let decoder = TraceDecoder([.outOfMemory: try #require(TraceFormat(Self.victim))])
    var bytes = [UInt8](repeating: 0, count: 48)
    bytes.replaceSubrange(0..<16, with: [0x61, 2, 0, 0, 9, 0, 0, 0, 42, 0, 0, 0, 48, 0, 4, 0])
    bytes[24] = 100
    bytes += Array("app\0".utf8)
    #expect(
      decode(decoder, bytes)?.kind
        == .outOfMemory(process: 42, command: "app", residentBytes: 102_400))
    // One that points outside has no command, and no fault.
    bytes[14] = 200
    #expect(
      decode(decoder, bytes)?.kind
        == .outOfMemory(process: 42, command: nil, residentBytes: 102_400))
  }

  private func decode(_ decoder: TraceDecoder, _ bytes: [UInt8]) -> TraceEvent? {
    bytes.withUnsafeBytes { decoder.event($0, at: 5) }
  }

  /// A record of inet_sock_set_state: 10.0.0.2:8080 to 10.0.0.1:40001, or without addresses.
  private func record(
    id: UInt16, flags: UInt8, thread: Int32, from: Int32, to: Int32, family: UInt16
  ) -> [UInt8] {
    var bytes: [UInt8] = []
    func put(_ value: some FixedWidthInteger) {
      bytes += withUnsafeBytes(of: value.littleEndian) { Array($0) }
    }
    put(id)
    bytes += [flags, 0]
    put(thread)
    put(UInt64(0xff))
    put(from)
    put(to)
    put(UInt16(8080))
    put(UInt16(40001))
    put(family)
    put(UInt16(IPPROTO_TCP))
    bytes += [10, 0, 0, 2, 10, 0, 0, 1]
    let mapped: [UInt8] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]
    bytes += mapped + [10, 0, 0, 2] + mapped + [10, 0, 0, 1]
    return bytes
  }
}
