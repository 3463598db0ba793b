/// What of a side's data arrived, and when a close is complete, in `ZeekModel`'s words.
extension ModelConnection {
  func sent(_ end: ModelEnd, _ sequence: UInt64, _ length: UInt64) {
    let peer = end === o ? r : o
    if end.skips { return }
    let acked = end.ackedFull &- UInt64(bitPattern: end.start)
    var lower = sequence
    let upper = sequence &+ length
    if lower < acked {
      if upper <= acked { return }
      lower = acked
    }
    if upper > end.trimmed {
      end.insert(max(lower, end.trimmed)..<upper)
      if end.deliver(), end.isUnacknowledged, size(end) > 16384 {
        trim(end, peer, end.delivered)
      }
    }
    let above = (end.blocks.last?.upperBound ?? end.delivered) &- end.delivered
    let held = end.blocks.reduce(0) { $0 + $1.count }
    if end.isUnacknowledged && above > 16384 || held > 10 << 20 {
      end.blocks = []
      end.skips = true
    }
  }

  func received(_ end: ModelEnd, _ peer: ModelEnd, _ upTo: UInt64) {
    var upTo = upTo
    if end.finCount > 0, upTo >= end.finSequence { upTo = end.finSequence &- 1 }
    if upTo <= end.trimmed { return }
    trim(end, peer, upTo)
    checkEnd(end, peer)
  }

  func trim(_ end: ModelEnd, _ peer: ModelEnd, _ upTo: UInt64) {
    if upTo > end.delivered { undelivered(end, peer, upTo) }
    end.blocks.removeAll { $0.upperBound <= upTo }
    _ = end.deliver()
    end.trimmed = max(end.trimmed, upTo)
  }

  func undelivered(_ end: ModelEnd, _ peer: ModelEnd, _ upTo: UInt64) {
    if upTo <= 2, isPartial { return }
    if !end.skips {
      let counts = end.isClean && peer.isClean
      while let block = end.blocks.first(where: { $0.lowerBound >= end.delivered }),
        block.lowerBound < upTo
      {
        if counts { count("G", end) }
        end.delivered = block.lowerBound
        _ = end.deliver()
      }
      if upTo > end.delivered, counts { count("G", end) }
    }
    end.delivered = max(end.delivered, upTo)
  }

  // MARK: The end

  func isPending(_ end: ModelEnd) -> Bool {
    let peer = end === o ? r : o
    if end.skips { return false }
    let delivered = UInt64(bitPattern: end.start) &+ end.delivered
    if end.lastFull < delivered { return false }
    if delivered != end.lastFull, delivered != end.lastFull &- 1 { return true }
    return end.state != .reset && !peer.blocks.isEmpty
  }

  func checkEnd(_ end: ModelEnd, _ peer: ModelEnd) {
    guard !end.didEnd, end.finCount > 0 || end.state == .closed || end.state == .reset,
      !isPending(end)
    else { return }
    end.didEnd = true
    if isDeferred {
      close(end, peer, isFinishing)
      isDeferred = false
    }
  }

  func close(_ end: ModelEnd, _ peer: ModelEnd, _ finishes: Bool) {
    if isPending(end) {
      isDeferred = true
      isFinishing = isFinishing || finishes
      return
    }
    isDeferred = false
    if end.didClose { return }
    end.didClose = true
    if end.state == .reset || peer.didClose || peer.state == .inactive {
      if end.previous != .inactive || peer.state != .inactive, finishes || isFinishing {
        isFinishing = false
        isActive = false
      }
      attempt = .max
      expires = []
      delete = last + 5 * Self.second
    } else if end.previous != .inactive {
      expires.append(last + 6 * Self.second)
    }
  }
}
