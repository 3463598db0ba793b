/// What Zeek knows of one end (src/analyzer/protocol/tcp/TCP_Endpoint.h), in its order.
enum EndpointState: UInt8 {
  /// Nothing seen of this side.
  case inactive
  /// SYN seen, no answer.
  case synSent
  /// SYN-ACK seen, from the side that was taken for the originator.
  case synAckSent
  /// Data or an ACK, but no SYN.
  case partial
  case established
  /// FIN seen.
  case closed
  /// RST seen.
  case reset

  var isHandshake: Bool { rawValue <= EndpointState.synAckSent.rawValue }
}

/// One side of a connection: what nearly every packet needs of it. Sequence numbers are those of what
/// this side *sent*. What passes 2^32 is in `SideRest`.
struct Side: BitwiseCopyable {
  /// The sequence number of its SYN, or what it would have been.
  var start: UInt32 = 0
  /// One past the last byte seen.
  var last: UInt32 = 0
  /// The highest number that the other side acknowledged.
  var acknowledged: UInt32 = 0
  var packets: UInt32 = 0
  /// The lower halves of `delivered` and `trimmed`.
  var deliveredLow: UInt32 = 1
  var trimmedLow: UInt32 = 1
  var state = EndpointState.inactive
  var previous = EndpointState.inactive
  var marks = Marks()
  /// History letters already written (`HistoryBit`).
  var history: UInt8 = 0
  /// IPv4 identification of its last packet.
  var identification: UInt16 = 0
  /// Retransmissions since the other side's last packet.
  var unanswered: UInt8 = 0
  /// Of this side's SYN or SYN-ACK; 0 when none was seen.
  var timeToLive: UInt8 = 0

  struct Marks: OptionSet, BitwiseCopyable {
    var rawValue: UInt8 = 0
    static let closed = Self(rawValue: 1)
    static let ended = Self(rawValue: 2)
    /// Reassembly was given up.
    static let skipping = Self(rawValue: 4)
    static let sawFIN = Self(rawValue: 8)
    static let seen = Self(rawValue: 16)
  }

  mutating func enter(_ next: EndpointState) {
    if next != state {
      previous = state
      state = next
    }
  }
}

/// What of a side is zero until a number passes 2^32 or a hole opens.
struct SideRest: BitwiseCopyable {
  var deliveredHigh: UInt32 = 0
  var trimmedHigh: UInt32 = 0
  /// The first of the ranges received out of order (`OutOfOrder`); 0 for none.
  var ranges: UInt32 = 0
  /// How often `last` and `acknowledged` passed 2^32.
  var wraps: UInt16 = 0
  var acknowledgedWraps: UInt16 = 0

  var isZero: Bool {
    deliveredHigh | trimmedHigh | ranges == 0 && wraps | acknowledgedWraps == 0
  }
}

/// A side within its `Record`, with its rest.
extension UnsafeMutablePointer<Side> {
  /// The record holds the rest of each side as far behind the side.
  var rest: UnsafeMutablePointer<SideRest> {
    (UnsafeMutableRawPointer(self) + Record.restOffset).assumingMemoryBound(to: SideRest.self)
  }

  /// In-order data ends here, relative to `start`. It has 64 bits, as `trimmed` has: a number that a
  /// broken segment gives may lie anywhere.
  var delivered: UInt64 {
    get { UInt64(rest.pointee.deliveredHigh) << 32 | UInt64(pointee.deliveredLow) }
    nonmutating set {
      pointee.deliveredLow = UInt32(truncatingIfNeeded: newValue)
      rest.pointee.deliveredHigh = UInt32(truncatingIfNeeded: newValue >> 32)
    }
  }

  /// Acknowledged, and no longer looked at, up to here, relative to `start`.
  var trimmed: UInt64 {
    get { UInt64(rest.pointee.trimmedHigh) << 32 | UInt64(pointee.trimmedLow) }
    nonmutating set {
      pointee.trimmedLow = UInt32(truncatingIfNeeded: newValue)
      rest.pointee.trimmedHigh = UInt32(truncatingIfNeeded: newValue >> 32)
    }
  }

  /// The highest acknowledgement with its wraps.
  var fullAcknowledged: UInt64 {
    UInt64(rest.pointee.acknowledgedWraps) << 32 | UInt64(pointee.acknowledged)
  }

  var fullLast: UInt64 { UInt64(rest.pointee.wraps) << 32 | UInt64(pointee.last) }

  /// The highest acknowledgement, relative to its start.
  var acknowledgedEnd: UInt64 { fullAcknowledged &- UInt64(pointee.start) }

  /// None of its data was acknowledged (its SYN may have been).
  var isUnacknowledged: Bool {
    let start = UInt64(pointee.start)
    return fullAcknowledged == start || fullAcknowledged == start + 1
  }
}
