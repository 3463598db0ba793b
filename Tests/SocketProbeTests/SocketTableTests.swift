import Evidence
import Testing

@testable import SocketProbe

@Suite struct SocketTableTests {
  private let here = Endpoint(address: IPAddress(v4: 0x7f00_0001), port: 8080)

  private func listener(queued: UInt32, backlog: UInt32 = 10) -> SocketSighting {
    SocketSighting(role: .listener, local: here, inode: 5, queued: queued, backlog: backlog)
  }

  @Test func `only news is told`() {
    var table = SocketTable(limit: 10)
    #expect(table.update(namespace: 1, round: 0, with: [listener(queued: 0)]).count == 1)
    #expect(table.update(namespace: 1, round: 1, with: [listener(queued: 0)]).isEmpty)
    #expect(
      table.update(namespace: 1, round: 2, with: [listener(queued: 0, backlog: 9)]).count == 1)
    // Gone, and come again with the same inode.
    #expect(table.update(namespace: 1, round: 3, with: []).isEmpty)
    #expect(table.update(namespace: 1, round: 4, with: [listener(queued: 0)]).count == 1)
  }

  @Test func `a namespace's dump says nothing of another's sockets`() {
    var table = SocketTable(limit: 10)
    _ = table.update(namespace: 1, round: 0, with: [listener(queued: 0)])
    _ = table.update(namespace: 2, round: 1, with: [])
    #expect(table.count == 1)
  }

  @Test func `a queue is told while it grows beyond half, and when it has fallen`() {
    var table = SocketTable(limit: 10)
    var told: [UInt32] = []
    for (round, queued) in ([0, 3, 5, 6, 6, 8, 7, 11, 5, 2, 6] as [UInt32]).enumerated() {
      told += table.update(namespace: 1, round: UInt64(round), with: [listener(queued: queued)])
        .compactMap(\.queued)
    }
    #expect(told == [0, 6, 8, 11, 5, 6])
  }

  @Test func `more sockets than can be remembered are counted`() {
    var table = SocketTable(limit: 2)
    let many = (1...5).map { SocketSighting(role: .responder, local: here, inode: $0) }
    #expect(table.update(namespace: 1, round: 0, with: many).count == 2)
    #expect(table.overflow == 3)
  }

  @Test func `the filter's offsets end at its end`() {
    // As the kernel audits and runs it (net/ipv4/inet_diag.c).
    let ports: [UInt16] = [80, 8080, 65535]
    let program = SocketDump.program(ports: ports)
    func accepts(_ source: UInt16, _ destination: UInt16) -> Bool {
      var index = 0
      while index < program.count {
        let code = program[index]
        let yes = Int(program[index + 1])
        let no = Int(program[index + 2]) | Int(program[index + 3]) << 8
        let operand =
          index + 7 < program.count
          ? UInt16(program[index + 6]) | UInt16(program[index + 7]) << 8 : 0
        switch code {
        case 1: index += no
        case 2: index += source >= operand ? yes : no
        case 3: index += source <= operand ? yes : no
        case 4: index += destination >= operand ? yes : no
        case 5: index += destination <= operand ? yes : no
        default: return false
        }
      }
      return index == program.count
    }
    for port in ports {
      #expect(accepts(port, 1))
      #expect(accepts(1, port))
    }
    #expect(!accepts(81, 79))
    #expect(!accepts(65534, 0))
  }

  @Test(arguments: [[] as [UInt8], [1, 2, 3], Array(repeating: 255, count: 80)])
  func `an answer that is cut or odd is no socket`(_ bytes: [UInt8]) {
    bytes.withUnsafeBytes { #expect(DumpedSocket($0) == nil) }
  }

  @Test func `a line of proc's table is a socket`() {
    func read(_ line: String) -> DumpedSocket? {
      ProcNetwork.socket(Array(line.utf8)[...], [8080])
    }
    let local = Endpoint(address: IPAddress(v4: 0x7f00_0001), port: 8080)
    // The kernel prints the words of an address in the host's order.
    let word = String(UInt32(0x7f00_0001).bigEndian, radix: 16, uppercase: true)
    let address = String(repeating: "0", count: 8 - word.count) + word
    let mapped = "0000000000000000" + (UInt32(0xffff).bigEndian == 0xffff ? "0000FFFF" : "FFFF0000")
    #expect(
      read(
        "   0: \(address):1F90 00000000:0000 0A 00000000:00000003 00:00000000 00000000  0  0 4711 1 ff"
      )
        == DumpedSocket(
          local: local, remote: Endpoint(address: IPAddress(v4: 0), port: 0), isListener: true,
          inode: 4711, receiveQueue: 3, sendQueue: 0, isV6Only: false))
    #expect(
      read(
        "  12: \(mapped)\(address):1F90 \(mapped)\(address):C001 01 00000001:00000002 00:00000000 00000000 33 0 99 1 ff"
      )
        == DumpedSocket(
          local: local, remote: Endpoint(address: local.address, port: 0xc001), isListener: false,
          inode: 99, receiveQueue: 2, sendQueue: 1, isV6Only: false))
    // Another port, TIME_WAIT, the heading, and lines that are cut.
    #expect(read("0: \(address):1F91 00000000:0000 0A 0:0 00:0 0 0 0 4711 1") == nil)
    #expect(read("0: \(address):1F90 00000000:0000 06 0:0 00:0 0 0 0 0 1") == nil)
    #expect(
      read("  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt") == nil)
    #expect(read("0: 01:1F90 00000000:0000 0A 0:0 00:0 0 0 0 4711 1") == nil)
    #expect(read("") == nil)
  }

  @Test func `a namespace's number is read`() {
    #expect(NamespaceFinder.inode("net:[4026531840]") == 4_026_531_840)
    #expect(NamespaceFinder.inode("net:[]") == nil)
    #expect(NamespaceFinder.inode("mnt:[4]") == nil)
  }
}
