// Writes a capture of nginx and its backends, the same for the same arguments.
//
//     swiftc -O generate.swift -o generate && ./generate OUT.pcap [packets] [snap length]
//     ./generate OUT.pcap idle [connections]
//
// The second form: connections that exchanged once each, a hundred microseconds apart, and all stay
// open; for the memory that one takes.
//
// Keepalive connections (a fifth of them IPv6), 400-byte requests, responses of 2 to 12 kB in
// segments of 1448 bytes with an ACK for every second one, and twelve kinds of end: idle FIN by
// either side, FIN without an answer, aborts, refusals, stale races, cut responses, silence.
import Glibc

struct Random {
  var state: UInt64
  mutating func next() -> UInt64 {
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return state
  }
  mutating func below(_ limit: UInt64) -> UInt64 { next() >> 11 % limit }
}

struct Planned {
  /// Microseconds after the packet before.
  var delay: UInt32
  var fromClient: Bool
  var flags: UInt8
  var length: Int
  /// What the payload begins with: 0 nothing, 1 a request, 2 a response of `total` bytes.
  var content: UInt8 = 0
  var total = 0
}

struct Connection {
  var isV6: Bool
  var client: UInt32
  var clientPort: UInt16
  var server: UInt32
  var sequence: (UInt32, UInt32)
  var identification: (UInt16, UInt16)
  var plan: [Planned] = []
  var next = 0
}

var random = Random(state: 0x1234_5678_9abc_def1)
let arguments = CommandLine.arguments
guard arguments.count > 1 else {
  print("usage: generate OUT.pcap [packets] [snap length]")
  exit(64)
}
let wanted = arguments.count > 2 ? Int(arguments[2]) ?? 1_000_000 : 1_000_000
let snap = arguments.count > 3 && arguments[2] != "idle" ? Int(arguments[3]) ?? 96 : 96

func plan() -> [Planned] {
  var plan: [Planned] = []
  func add(_ delay: UInt64, _ client: Bool, _ flags: UInt8, _ length: Int = 0) {
    plan.append(
      Planned(delay: UInt32(delay), fromClient: client, flags: flags, length: length))
  }
  let kind = random.below(12)
  add(0, true, 0x02)
  if kind == 0 {
    add(100, false, 0x14)  // refused
    return plan
  }
  if kind == 1, random.below(4) == 0 { return plan }  // silence
  add(100, false, 0x12)
  add(20, true, 0x10)
  func request() {
    add(10_000 + random.below(40_000), true, 0x18, 400)
    plan[plan.count - 1].content = 1
  }
  func response(cut: Bool = false) {
    let total = 2000 + Int(random.below(10_000))
    var left = cut ? total / 2 : total
    add(80, false, 0x10)
    var first = true
    var segments = 0
    while left > 0 {
      let length = min(left, 1448)
      left -= length
      add(first ? 500 + random.below(3000) : 8, false, left == 0 ? 0x18 : 0x10, length)
      if first {
        plan[plan.count - 1].content = 2
        plan[plan.count - 1].total = total
      }
      first = false
      segments += 1
      if segments % 2 == 0 || left == 0 { add(10, true, 0x10) }
    }
  }
  for _ in 0..<(1 + random.below(32)) {
    request()
    response()
  }
  func end(_ client: Bool, _ delay: UInt64) {
    add(delay, client, 0x11)
    add(60, !client, 0x11)
    add(60, client, 0x10)
  }
  switch kind {
  case 1, 2, 3, 4: end(false, 2_000_000)
  case 5: end(true, 1_500_000)
  case 6:
    request()
    add(80, false, 0x10)
    end(false, 3000)
  case 7:
    request()
    add(80, false, 0x10)
    add(3000, false, 0x14)
  case 8:
    add(2_000_000, false, 0x11)
    request()
    plan[plan.count - 1].delay = 90
    add(100, false, 0x04)
    add(60, true, 0x11)
  case 9:
    request()
    response(cut: true)
    add(1000, false, 0x14)
  case 10:
    request()
    response(cut: true)
    end(false, 1000)
  default: break  // open until the end
  }
  return plan
}

func start() -> Connection {
  Connection(
    isV6: random.below(5) == 0, client: 0x0a00_0001 + UInt32(random.below(4)),
    clientPort: UInt16(32768 + random.below(28000)), server: 0x0a00_0100 + UInt32(random.below(20)),
    sequence: (
      UInt32(truncatingIfNeeded: random.next()), UInt32(truncatingIfNeeded: random.next())
    ),
    identification: (
      UInt16(truncatingIfNeeded: random.next()), UInt16(truncatingIfNeeded: random.next())
    ), plan: plan())
}

/// Whose turn it is, by time.
var heap: [(time: UInt64, connection: Int)] = []
func push(_ time: UInt64, _ connection: Int) {
  heap.append((time, connection))
  var child = heap.count - 1
  while child > 0, heap[child].time < heap[(child - 1) / 2].time {
    heap.swapAt(child, (child - 1) / 2)
    child = (child - 1) / 2
  }
}
func pop() -> (time: UInt64, connection: Int) {
  let first = heap[0]
  let last = heap.removeLast()
  guard !heap.isEmpty else { return first }
  heap[0] = last
  var parent = 0
  while true {
    var child = parent * 2 + 1
    if child >= heap.count { break }
    if child + 1 < heap.count, heap[child + 1].time < heap[child].time { child += 1 }
    if heap[child].time >= heap[parent].time { break }
    heap.swapAt(child, parent)
    parent = child
  }
  return first
}

var out: [UInt8] = []
func little(_ value: UInt32) {
  for shift in [0, 8, 16, 24] as [UInt32] { out.append(UInt8(truncatingIfNeeded: value >> shift)) }
}
func big16(_ value: UInt16, to frame: inout [UInt8]) {
  frame.append(UInt8(value >> 8))
  frame.append(UInt8(value & 255))
}
func big32(_ value: UInt32, to frame: inout [UInt8]) {
  big16(UInt16(value >> 16), to: &frame)
  big16(UInt16(value & 0xffff), to: &frame)
}

let descriptor = open(arguments[1], O_WRONLY | O_CREAT | O_TRUNC, 0o644)
guard descriptor >= 0 else {
  perror(arguments[1])
  exit(2)
}
func flush() {
  var written = 0
  while written < out.count {
    let count = out.withUnsafeBytes {
      write(descriptor, $0.baseAddress! + written, out.count - written)
    }
    if count <= 0 { exit(2) }
    written += count
  }
  out.removeAll(keepingCapacity: true)
}

little(0xa1b2_3c4d)
little(2 | 4 << 16)
little(0)
little(0)
little(UInt32(snap))
little(1)

let requestText = Array(
  "GET /api/v1/items/1234?page=7&token=abcdef HTTP/1.1\r\nHost: backend\r\n\r\n".utf8)
var frame: [UInt8] = []

func emit(_ connection: inout Connection, _ packet: Planned, _ time: UInt64) {
  frame.removeAll(keepingCapacity: true)
  let client = packet.fromClient
  for _ in 0..<12 { frame.append(2) }
  big16(connection.isV6 ? 0x86dd : 0x0800, to: &frame)
  let isReset = packet.flags & 4 != 0
  let isPassive = packet.flags == 4
  let options = isReset ? 0 : packet.flags & 2 != 0 ? 20 : 12
  let transport = 20 + options + packet.length
  let source = client ? connection.client : connection.server
  let destination = client ? connection.server : connection.client
  if connection.isV6 {
    big32(0x6000_0000, to: &frame)
    big16(UInt16(transport), to: &frame)
    frame.append(6)
    frame.append(64)
    for address in [source, destination] {
      big32(0x2001_0db8, to: &frame)
      big32(0, to: &frame)
      big32(0, to: &frame)
      big32(address, to: &frame)
    }
  } else {
    big16(0x4500, to: &frame)
    big16(UInt16(20 + transport), to: &frame)
    let identification = client ? connection.identification.0 : connection.identification.1
    big16(isPassive ? 0 : identification, to: &frame)
    if client { connection.identification.0 &+= 1 } else { connection.identification.1 &+= 1 }
    big16(0x4000, to: &frame)
    frame.append(64)
    frame.append(6)
    big16(0, to: &frame)
    big32(source, to: &frame)
    big32(destination, to: &frame)
  }
  big16(client ? connection.clientPort : 8080, to: &frame)
  big16(client ? 8080 : connection.clientPort, to: &frame)
  let refused = packet.flags == 0x14 && connection.next == 1
  big32(refused ? 0 : client ? connection.sequence.0 : connection.sequence.1, to: &frame)
  let acknowledgement = client ? connection.sequence.1 : connection.sequence.0
  big32(packet.flags & 16 != 0 ? acknowledgement : 0, to: &frame)
  frame.append(UInt8((20 + options) / 4) << 4)
  frame.append(packet.flags)
  big16(isPassive || refused ? 0 : 501, to: &frame)
  big32(0, to: &frame)
  if options == 20 {
    frame += [2, 4, 5, 180, 4, 2]
    frame += [8, 10]
    big32(UInt32(truncatingIfNeeded: time / 1000), to: &frame)
    big32(0, to: &frame)
    frame += [1, 3, 3, 7]
  } else if options == 12 {
    frame += [1, 1, 8, 10]
    big32(UInt32(truncatingIfNeeded: time / 1000), to: &frame)
    big32(UInt32(truncatingIfNeeded: time / 1000), to: &frame)
  }
  let header = frame.count
  if packet.content == 1 { frame += requestText }
  if packet.content == 2 {
    frame += Array("HTTP/1.1 200 OK\r\nContent-Length: \(packet.total - 62)\r\nServer: x\r\n".utf8)
    while frame.count - header < 58 { frame.append(0x78) }
    frame += [13, 10, 13, 10]
  }
  let whole = header + packet.length
  let captured = min(snap, whole)
  while frame.count < captured { frame.append(0x61) }
  little(UInt32(1_700_000_000 + time / 1_000_000_000))
  little(UInt32(time % 1_000_000_000))
  little(UInt32(captured))
  little(UInt32(whole))
  out.append(contentsOf: frame[..<captured])
  if out.count > 1 << 20 { flush() }
  let consumed = UInt32(packet.length) + UInt32(packet.flags & 1) + UInt32(packet.flags >> 1 & 1)
  if client { connection.sequence.0 &+= consumed } else { connection.sequence.1 &+= consumed }
}

if arguments.count > 2, arguments[2] == "idle" {
  let connections = arguments.count > 3 ? Int(arguments[3]) ?? 100_000 : 100_000
  for index in 0..<connections {
    var connection = start()
    connection.isV6 = false
    connection.client = 0x0a00_0001 + UInt32(index / 28_000)
    connection.clientPort = UInt16(32768 + index % 28_000)
    connection.server = 0x0a00_0100
    var step: UInt64 = 0
    for (client, flags, length, content) in [
      (true, 0x02, 0, 0), (false, 0x12, 0, 0), (true, 0x10, 0, 0), (true, 0x18, 400, 1),
      (false, 0x10, 0, 0), (false, 0x18, 1200, 2), (true, 0x10, 0, 0),
    ] as [(Bool, UInt8, Int, UInt8)] {
      let packet = Planned(
        delay: 0, fromClient: client, flags: flags, length: length, content: content, total: 1200)
      emit(&connection, packet, UInt64(index) * 100_000 + step * 10_000)
      connection.next += 1
      step += 1
    }
  }
  flush()
  close(descriptor)
  print("\(connections) open connections")
  exit(0)
}

var connections: [Connection] = []
var free: [Int] = []
var nextStart: UInt64 = 0
var count = 0
var started = 0
while count < wanted {
  if heap.isEmpty || heap[0].time > nextStart {
    let slot = free.popLast() ?? connections.count
    if slot == connections.count {
      connections.append(start())
    } else {
      connections[slot] = start()
    }
    started += 1
    push(nextStart, slot)
    nextStart += 1_700_000
    continue
  }
  let (time, slot) = pop()
  let packet = connections[slot].plan[connections[slot].next]
  emit(&connections[slot], packet, time)
  count += 1
  connections[slot].next += 1
  if connections[slot].next < connections[slot].plan.count {
    let delay = connections[slot].plan[connections[slot].next].delay
    push(time + UInt64(delay) * 1000 + random.below(1000), slot)
  } else {
    free.append(slot)
  }
}
flush()
close(descriptor)
print("\(count) packets, \(started) connections")
