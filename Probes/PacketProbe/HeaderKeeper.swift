import CaptureFile
public import Evidence
import Glibc
import Synchronization

/// The last packets of connections whose close an error may be about, by the connection's number.
///
/// Filled by the capture's thread when it tells such a close, asked by whoever makes an incident of it.
public final class TrailStore: Sendable {
  /// What is kept of one connection.
  public struct Kept: Sendable {
    public var trail: PacketTrail
    /// The same packets as they were captured.
    public var headers: [CapturedHeader]
  }

  private let state = Mutex(State())
  /// Packets of all trails together; 200 bytes each.
  private let most: Int

  private struct State {
    var trails: [UInt64: Kept] = [:]
    var order: [UInt64] = []
    var packets = 0
  }

  /// - Parameter packets: how many are kept of all connections together; the oldest go first.
  public init(packets: Int = 50_000) { most = packets }

  /// The last packets of a connection; nil when they are not kept.
  public subscript(connection: UInt64) -> Kept? {
    state.withLock { $0.trails[connection] }
  }

  func put(_ kept: Kept) {
    state.withLock { state in
      let id = kept.trail.connection
      if let old = state.trails[id] {
        state.packets -= old.headers.count
      } else {
        state.order.append(id)
      }
      state.trails[id] = kept
      state.packets += kept.headers.count
      guard state.packets > most else { return }
      let gone = state.order.prefix(max(1, state.order.count / 8))
      for id in gone { state.packets -= state.trails.removeValue(forKey: id)?.headers.count ?? 0 }
      state.order.removeFirst(gone.count)
    }
  }
}

/// Keeps headers for incidents and recordings, beside the tracker and in its thread.
final class HeaderKeeper {
  /// Packets of one trail.
  static let most = 32
  /// In a flood of failures more trails would cost more than they tell.
  static let mostTrailsASecond = 500

  private let ring: HeaderRing?
  private let store: TrailStore?
  private let sink: (any HeaderSink)?
  private let number: UInt64
  private var second: Int64 = 0
  private var trails = 0

  /// - Parameters:
  ///   - bytes: of the ring.
  ///   - store: where trails go; nil: none are made.
  ///   - sink: gets every SYN, FIN and RST.
  ///   - number: of the capture, when there are several: its connections are numbered from there.
  init(bytes: Int, store: TrailStore?, sink: (any HeaderSink)?, number: UInt64 = 0) {
    ring = store == nil ? nil : HeaderRing(bytes: bytes)
    self.store = store
    self.sink = sink
    self.number = number
  }

  /// Takes a packet that is no copy of another.
  @inline(__always)
  func keep(_ segment: UnsafePointer<Segment>, _ packet: CapturedPacket) {
    guard let start = packet.bytes.baseAddress, let payload = segment.pointee.payload.baseAddress
    else { return }
    let length = payload - start
    ring?.keep(packet, length: length, hash: segment.pointee.hash)
    let flags = segment.pointee.flags
    if let sink, !flags.isDisjoint(with: [.syn, .fin, .rst]) {
      sink.take(
        time: packet.time, linkType: packet.linkType, originalLength: packet.originalLength,
        isEssential: flags.contains(.rst),
        bytes: UnsafeRawBufferPointer(start: start, count: length))
    }
  }

  /// Puts the last packets of a connection aside, if an error may be about its close.
  func told(_ connection: Connection) {
    guard let ring, let store, Self.mayExplain(connection) else { return }
    let now = connection.lastPacket.nanoseconds / 1_000_000_000
    if now != second { (second, trails) = (now, 0) }
    trails += 1
    guard trails <= Self.mostTrailsASecond else { return }
    let flow = connection.flow
    let headers = ring.latest(
      hash: ConnectionTable.hash(flow),
      since: connection.firstPacket.nanoseconds, most: Self.most)
    let packets = headers.compactMap { PacketRecord($0, flow) }
    guard !packets.isEmpty else { return }
    store.put(
      TrailStore.Kept(
        trail: PacketTrail(
          connection: connection.id | number << 48, flow: flow, packets: packets,
          isCut: UInt64(packets.count) < connection.originatorPackets
            + connection.responderPackets),
        headers: headers))
  }

  /// All but the healthy end of a connection that was idle.
  private static func mayExplain(_ connection: Connection) -> Bool {
    connection.phase != .idle || connection.requestAfterFIN || connection.originatorReset != nil
      || connection.responderReset != nil || connection.manner == .refused
      || connection.exchanges.map { $0 == 0 } ?? true
  }
}

extension Segment.Address {
  init(_ address: IPAddress) { self.init(high: address.high, low: address.low) }
}

extension PacketRecord {
  /// Reads kept headers; nil when they are of another flow, or no TCP.
  init?(_ header: CapturedHeader, _ flow: Flow) {
    guard let packet = PacketHeader(header) else { return nil }
    guard
      packet.source == flow.originator && packet.destination == flow.responder
        || packet.source == flow.responder && packet.destination == flow.originator
    else { return nil }
    self.init(
      time: Timestamp(nanoseconds: header.time),
      isFromOriginator: packet.source == flow.originator, flags: packet.flags,
      sequence: packet.sequence, acknowledgement: packet.acknowledgement, length: packet.length,
      window: packet.window)
  }
}
