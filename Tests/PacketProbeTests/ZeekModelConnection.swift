/// One connection of `ZeekModel`: a packet, its letters, the states, the data, the line.
final class ModelConnection {
  var o: ModelEnd
  var r: ModelEnd
  var history = ""
  /// Letters written once, by their case.
  var written: Set<Character> = []
  let start: Int64
  var last: Int64
  var isActive = true
  var isPartial = false
  var isDeferred = false
  var isFinishing = false
  var attempt = Int64.max
  var expires: [Int64]
  var delete = Int64.max
  var isLong = false
  var isInteractive = false

  static let second: Int64 = 1_000_000_000
  static let servers: Set<UInt16> = [22, 80, 443, 8080]

  init(_ packet: ZeekModel.Packet, _ now: Int64) {
    start = packet.time
    last = packet.time
    o = ModelEnd(packet.from)
    r = ModelEnd(packet.to)
    expires = [now + 5 * Self.second]
    guard !packet.syn || packet.ack, Self.servers.contains(packet.from) else { return }
    if !Self.servers.contains(packet.to) || !packet.syn && packet.from < packet.to {
      swap(&o, &r)
      history = "^"
    }
  }

  func isBetween(_ a: UInt16, _ b: UInt16) -> Bool {
    o.port == a && r.port == b || o.port == b && r.port == a
  }

  // MARK: Timers

  func isDue(_ now: Int64) -> Bool {
    if attempt <= now {
      attempt = .max
      if isActive, o.state == .synSent || o.state == .synAckSent, r.state == .inactive {
        return true
      }
    }
    for time in expires where time <= now {
      expires.remove(at: expires.firstIndex(of: time) ?? 0)
      guard isActive else { continue }
      if last + 5 * Self.second < now, isOver { return true }
      expires.append(now + 6 * Self.second)
    }
    let patience = !isLong ? 60 : isInteractive ? 3600 : 300
    return delete <= now || last + Int64(patience) * Self.second <= now
  }

  var isOver: Bool {
    let ends = [o, r]
    if ends.contains(where: \.didClose),
      ends.allSatisfy(\.didClose)
        || ends.contains(where: { $0.state == .reset || $0.state == .inactive })
    {
      return true
    }
    return ends.allSatisfy { $0.state == .inactive }
  }

  func isReplaced(by packet: ZeekModel.Packet) -> Bool {
    guard packet.syn else { return false }
    if packet.ack, o.state != .inactive { return false }
    let end = packet.ack ? r : o
    if o.didClose || r.didClose { return true }
    if packet.sequence == UInt32(truncatingIfNeeded: end.start) { return false }
    return
      !(!packet.ack && end.state == .synAckSent && r.state == .inactive
      && packet.sequence == UInt32(truncatingIfNeeded: r.start))
  }

  // MARK: A packet

  func take(_ packet: ZeekModel.Packet) {
    let isOriginator = packet.from == o.port
    let sender = isOriginator ? o : r
    let peer = isOriginator ? r : o
    if !sender.wasSeen {
      if isOriginator {
        isPartial = !packet.syn || packet.ack
      } else if !isPartial {
        isPartial = !packet.syn
      }
    }
    let own = (packet.syn ? 1 : 0) + (packet.fin ? 1 : 0) + (packet.rst ? 0 : packet.length)
    let end = packet.sequence &+ UInt32(own)
    initialize(sender, packet, end)
    let (sequence, isBelow) = sender.relative(packet.sequence, sender.last, sender.lastWraps)
    write(packet, sender, sequence)
    if packet.window == 0, !packet.rst, peer.state != .closed, sender.state != .reset {
      count("W", sender)
    }
    if !o.didClose || !r.didClose { last = packet.time }
    if packet.fin {
      sender.finCount += 1
      sender.finSequence = sequence &+ UInt64(own)
    }
    let acknowledged = packet.ack ? acknowledge(peer, packet) : 0
    advance(sender, packet, end)
    let closes = change(sender, peer, packet)
    if packet.ack { received(peer, sender, acknowledged) }
    sender.wasSeen = true
    if packet.length > 0, packet.captured >= packet.length, !packet.rst, !isBelow {
      sent(sender, packet.syn ? sequence &+ 1 : sequence, UInt64(packet.length))
    }
    checkEnd(sender, peer)
    if closes.did { close(sender, peer, closes.finishes) }
    sender.packets += 1
  }

  func initialize(_ end: ModelEnd, _ packet: ZeekModel.Packet, _ upper: UInt32) {
    switch end.state {
    case .inactive:
      if packet.syn {
        end.set(packet.sequence, last: upper)
      } else {
        end.set(packet.sequence &- 1, last: packet.sequence)
      }
    case .synSent, .synAckSent:
      if packet.syn, packet.sequence != UInt32(truncatingIfNeeded: end.start) {
        end.set(packet.sequence, last: upper)
      }
    case .established, .partial: if packet.syn { end.set(packet.sequence, last: upper) }
    case .reset:
      if packet.syn, end.previous == .inactive { end.set(packet.sequence, last: upper) }
    case .closed: break
    }
  }

  func acknowledge(_ peer: ModelEnd, _ packet: ZeekModel.Packet) -> UInt64 {
    if peer.state == .inactive {
      peer.set(packet.acknowledgement &- 1, last: packet.acknowledgement &- 1)
      return 1
    }
    let (relative, isBelow) = peer.relative(packet.acknowledgement, peer.acked, peer.ackedWraps)
    if isBelow { return 0 }
    let delta = Int32(bitPattern: packet.acknowledgement &- peer.acked)
    if !packet.rst, delta > 0, packet.acknowledgement != 0 || delta <= 1 << 20 {
      if packet.acknowledgement < peer.acked { peer.ackedWraps += 1 }
      peer.acked = packet.acknowledgement
    }
    return relative
  }

  func advance(_ sender: ModelEnd, _ packet: ZeekModel.Packet, _ end: UInt32) {
    let delta = Int32(bitPattern: end &- sender.last)
    if packet.syn || packet.rst, delta > 1 << 20 || delta < -(1 << 20) { return }
    if packet.fin, sender.last == UInt32(truncatingIfNeeded: sender.start) &+ 1 {
      sender.move(to: end)
    } else if sender.state == .reset {
      return
    } else if delta > 0 {
      sender.move(to: end)
    } else if packet.length > 0 {
      count("T", sender)
    }
  }

  // MARK: History

  func add(_ letter: Character, _ end: ModelEnd) {
    history += end === o ? String(letter) : letter.lowercased()
  }

  /// - Returns: whether it had been written before.
  func check(_ bit: Character, _ letter: Character, _ end: ModelEnd) -> Bool {
    let key = end === o ? bit : Character(bit.lowercased())
    if !written.insert(key).inserted { return true }
    add(letter, end)
    return false
  }

  func again(_ bit: Character, _ letter: Character, _ end: ModelEnd, _ position: UInt64) {
    if check(bit, letter, end), position != end.lastMark[bit, default: 0] { add(letter, end) }
    end.lastMark[bit] = position
  }

  func count(_ letter: Character, _ end: ModelEnd) {
    end.counts[letter, default: 0] += 1
    var power = 1
    while power < end.counts[letter, default: 0] { power *= 10 }
    if power == end.counts[letter] { add(letter, end) }
  }

  func write(_ packet: ZeekModel.Packet, _ sender: ModelEnd, _ sequence: UInt64) {
    let flags = [packet.syn, packet.fin, packet.rst].filter { $0 }.count
    if flags > 1 {
      let letter: Character = packet.fin && packet.rst ? "I" : "Q"
      _ = check(letter, letter, sender)
    } else if packet.syn {
      again("S", packet.ack ? "H" : "S", sender, sequence)
    } else if packet.fin {
      again("F", "F", sender, sequence &+ UInt64(packet.length))
    } else if packet.rst {
      again("R", "R", sender, sequence)
    } else if packet.length > 0 {
      _ = check("D", "D", sender)
    } else if packet.ack {
      _ = check("A", "A", sender)
    }
  }

  // MARK: States

  func enter(_ end: ModelEnd, _ state: ModelState) {
    guard state != end.state else { return }
    let peer = end === o ? r : o
    if !state.isHandshake, end.state.isHandshake, peer.state.isHandshake { isLong = true }
    end.previous = end.state
    end.state = state
  }

  func change(
    _ sender: ModelEnd, _ peer: ModelEnd, _ packet: ZeekModel.Packet
  ) -> (did: Bool, finishes: Bool) {
    switch sender.state {
    case .inactive: return first(sender, peer, packet)
    case .synSent, .synAckSent:
      if packet.fin { enter(sender, .closed) }
      if packet.rst {
        enter(sender, .reset)
        isActive = false
      }
      return (packet.fin || packet.rst, packet.fin)
    case .established, .partial:
      if packet.syn, sender.state == .partial, peer.state == .inactive, !packet.ack {
        enter(sender, .synSent)
      }
      if packet.fin, !packet.rst {
        enter(sender, .closed)
        if peer.state == .reset, peer.previous == .closed { enter(peer, .closed) }
      }
      if packet.rst {
        enter(sender, .reset)
        if peer.state != .reset || peer.previous != .established { isActive = false }
      }
      return (packet.fin || packet.rst, packet.fin && !packet.rst)
    case .closed:
      guard packet.rst, peer.state != .closed else { return (false, false) }
      enter(sender, .reset)
      return (!sender.didClose, false)
    case .reset: return (false, false)
    }
  }

  func first(
    _ sender: ModelEnd, _ peer: ModelEnd, _ packet: ZeekModel.Packet
  ) -> (did: Bool, finishes: Bool) {
    let isOriginator = sender === o
    if packet.syn, isOriginator {
      enter(sender, packet.ack ? .synAckSent : .synSent)
      attempt = packet.time + 5 * Self.second
    } else if packet.syn {
      if !packet.ack, peer.state == .synAckSent,
        packet.sequence == UInt32(truncatingIfNeeded: sender.start)
      {
        swap(&o, &r)
        history += "^"
        isPartial = false
        enter(peer, .established)
        sender.wasSeen = true
      }
      if peer.state == .synSent { enter(peer, .established) }
      enter(sender, .established)
      if peer.state != .partial {
        let isOther =
          o.state == .inactive && !Self.servers.contains(r.port) && Self.servers.contains(o.port)
        isInteractive = (isOther ? o : r).port == 22
      }
    }
    var closes = (did: false, finishes: false)
    if packet.fin {
      enter(sender, .closed)
      closes = (true, true)
    }
    if packet.rst {
      enter(sender, .reset)
      let rejects =
        isOriginator
        ? peer.state == .established : peer.state == .synSent || peer.state == .synAckSent
      closes = (true, !rejects)
    }
    guard sender.state == .inactive else { return closes }
    if !isOriginator, packet.length == 0, o.state == .synSent { return closes }
    if packet.ack, peer.state == .established {
      enter(sender, .established)
      isPartial = false
    } else {
      enter(sender, .partial)
    }
    return closes
  }

  // MARK: The line

  func size(_ end: ModelEnd) -> UInt64 {
    let peer = end === o ? r : o
    if end.previous == .synSent, end.state == .reset, peer.state == .inactive,
      !end.isUnacknowledged
    {
      return 0
    }
    var size = max(end.lastFull, end.ackedFull) &- UInt64(bitPattern: end.start)
    if size > 0 { size -= 1 }
    if size > 0, end.finCount > 0 { size -= 1 }
    return size
  }

  var state: String {
    let isQuiet = (
      o: o.state == .inactive || o.state == .partial,
      r: r.state == .inactive || r.state == .partial
    )
    if r.state == .reset {
      if o.state == .synSent || o.state == .synAckSent
        || o.state == .reset && size(o) == 0 && size(r) == 0
      {
        return "REJ"
      }
      return isQuiet.o ? "RSTRH" : "RSTR"
    }
    if o.state == .reset {
      if !isQuiet.r { return "RSTO" }
      return history.wholeMatch(of: /\^?S[^HAFGIQ]*R.*/) != nil ? "RSTOS0" : "OTH"
    }
    if o.state == .closed { return r.state == .closed ? "SF" : isQuiet.r ? "SH" : "S2" }
    if r.state == .closed { return isQuiet.o ? "SHR" : "S3" }
    if o.state == .synSent, r.state == .inactive { return "S0" }
    return o.state == .established && r.state == .established ? "S1" : "OTH"
  }

  var line: ZeekModel.Line {
    let duration = last - start
    return ZeekModel.Line(
      start: start, originator: o.port, responder: r.port, state: state, history: history,
      duration: duration > 0 ? duration : nil, originatorBytes: duration > 0 ? size(o) : nil,
      responderBytes: duration > 0 ? size(r) : nil, originatorPackets: o.packets,
      responderPackets: r.packets)
  }
}
