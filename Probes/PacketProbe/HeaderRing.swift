public import CaptureFile
import Glibc

/// Takes headers that a recording must have, on the capture's thread; it must be quick and must not
/// block.
public protocol HeaderSink: AnyObject, Sendable {
  /// - Parameters:
  ///   - time: nanoseconds since the epoch.
  ///   - originalLength: on the wire.
  ///   - isEssential: a reset, or a packet of an incident.
  ///   - bytes: from the link's header to the end of the TCP header; valid during the call.
  func take(
    time: Int64, linkType: LinkType, originalLength: UInt32, isEssential: Bool,
    bytes: UnsafeRawBufferPointer)
}

/// One packet's headers, cut at the end of the TCP header.
public struct CapturedHeader: Hashable, Sendable {
  /// Nanoseconds since the epoch.
  public var time: Int64
  public var linkType: LinkType
  /// On the wire.
  public var originalLength: UInt32
  public var bytes: [UInt8]

  public init(time: Int64, linkType: LinkType, originalLength: UInt32, bytes: [UInt8]) {
    self.time = time
    self.linkType = linkType
    self.originalLength = originalLength
    self.bytes = bytes
  }
}

/// The latest headers of a capture, in a ring that is bounded in bytes: when a connection has ended in a
/// way that an error may be about, its last packets are still there.
///
/// A packet costs one copy of about 80 bytes and one entry of a hash chain; nothing is looked up until
/// somebody asks.
final class HeaderRing {
  /// Ethernet or "cooked", IPv6, a TCP header with all its options; more is not kept.
  static let longest = 120

  private struct Slot {
    /// Of both ends of the connection.
    var hash: UInt64
    var time: Int64
    /// The number of the packet before it in its chain.
    var previous: UInt64
    var linkType: UInt32
    var originalLength: UInt32
    var length: UInt32
  }

  /// How far apart slots are.
  private static let stride = 160
  private let capacity: UInt64
  private let slots: UnsafeMutableRawPointer
  /// The latest packet of each chain, by its number from 1.
  private let heads: UnsafeMutablePointer<UInt64>
  private static let chains = 1 << 15
  private var count: UInt64 = 0

  /// - Parameter bytes: of memory, touched as packets come.
  init(bytes: Int) {
    capacity = UInt64(max(64, bytes / Self.stride))
    slots = .allocate(byteCount: Int(capacity) * Self.stride, alignment: 8)
    heads = .allocate(capacity: Self.chains)
    heads.initialize(repeating: 0, count: Self.chains)
  }

  deinit {
    slots.deallocate()
    heads.deallocate()
  }

  private func slot(_ number: UInt64) -> UnsafeMutableRawPointer {
    slots + Int(number % capacity) * Self.stride
  }

  /// Keeps a packet.
  /// - Parameter length: of its headers.
  func keep(_ packet: CapturedPacket, length: Int, hash: UInt64) {
    guard length <= Self.longest, let bytes = packet.bytes.baseAddress else { return }
    count += 1
    let head = heads + Int(truncatingIfNeeded: hash) & (Self.chains - 1)
    let place = slot(count)
    place.storeBytes(
      of: Slot(
        hash: hash, time: packet.time, previous: head.pointee,
        linkType: packet.linkType.rawValue, originalLength: packet.originalLength,
        length: UInt32(truncatingIfNeeded: length)), as: Slot.self)
    memcpy(place + MemoryLayout<Slot>.size, bytes, length)
    head.pointee = count
  }

  /// The last packets of both ends, oldest first.
  /// - Parameters:
  ///   - start: those before belong to an earlier connection.
  ///   - most: how many.
  func latest(hash: UInt64, since start: Int64, most: Int) -> [CapturedHeader] {
    var found: [CapturedHeader] = []
    var number = heads[Int(truncatingIfNeeded: hash) & (Self.chains - 1)]
    // What is older than the ring was overwritten.
    while number > 0, count - number < capacity, found.count < most {
      let place = slot(number)
      let kept = place.load(as: Slot.self)
      if kept.hash == hash {
        if kept.time < start { break }
        found.append(
          CapturedHeader(
            time: kept.time, linkType: LinkType(rawValue: kept.linkType),
            originalLength: kept.originalLength,
            bytes: Array(
              UnsafeRawBufferPointer(
                start: place + MemoryLayout<Slot>.size, count: Int(kept.length)))))
      }
      number = kept.previous
    }
    return found.reversed()
  }
}
