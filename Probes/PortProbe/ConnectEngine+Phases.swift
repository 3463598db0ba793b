import CLinux
import Evidence
import Glibc

/// What happens on a connection, from the SYN's answer to the last word.
extension ConnectEngine {
  /// Something happened on a slot's connection.
  func handle(_ index: Int32, at now: Int64) {
    switch slots[Int(index)].phase {
    case .free: break
    case .connecting: look(index, at: now)
    case .settling, .talking: read(index, at: now)
    }
  }

  /// Asks the kernel how far the connect has come.
  func look(_ index: Int32, at now: Int64) {
    let slot = slots[Int(index)]
    switch ProbeSocket.progress(of: slot.descriptor) {
    case .pending:
      if slot.isRegistered {
        // An ICMP message that came while the kernel was still within connect(2) does not end the
        // connect, but it stands in the error queue, and says the same.
        if let message = ICMPMessage(fromErrorQueueOf: slot.descriptor) {
          finish(index, .unreachable, message.description, at: now)
        }
        return
      }
      register(index, EPOLLOUT.rawValue)
      deadlines.set(index, after: timeout, now: slot.began)
    case .failed(let error, let time):
      let answer = Answer.to(error, slot.descriptor)
      if answer.outcome == .reset { slots[Int(index)].connectTime = time }
      // A reset after the handshake closes nothing that is still open.
      finish(index, answer.outcome, answer.reason, at: now)
    case .open(let measured):
      // What the thread saw, where the kernel has no figure; never more than that.
      let elapsed = max(1, (slot.isRegistered ? now : monotonicNow()) - slot.began)
      let time = min(measured ?? elapsed, elapsed)
      slots[Int(index)].connectTime = time
      slots[Int(index)].answered = slot.began + elapsed
      opened(index, at: slot.began + elapsed)
    }
  }

  private func opened(_ index: Int32, at now: Int64) {
    if conversations.isEmpty == false, var conversation = conversations[index] {
      slots[Int(index)].phase = .talking
      let step = conversation.begin(at: now)
      conversations[index] = conversation
      register(index, EPOLLIN.rawValue | EPOLLRDHUP.rawValue)
      follow(step, index, at: now)
    } else if settle == 0 {
      finish(index, .open, nil, at: now)
    } else {
      slots[Int(index)].phase = .settling
      register(index, EPOLLIN.rawValue | EPOLLRDHUP.rawValue)
      deadlines.set(index, after: settle, now: now)
    }
  }

  /// Takes in what the other side said, until there is no more or it is decided.
  private func read(_ index: Int32, at now: Int64) {
    let slot = slots[Int(index)]
    // One that never stops talking must not keep the others waiting; epoll asks again.
    for _ in 0..<16 {
      let count = recv(
        slot.descriptor, buffer.baseAddress, buffer.count, Int32(MSG_DONTWAIT))
      if count > 0 {
        guard slot.phase == .talking else { continue }
        let bytes = UnsafeRawBufferPointer(rebasing: buffer[..<count])
        guard converse(index, at: now, { $0.receive(bytes, at: now) }) else { return }
      } else if count == 0 {
        return ended(index, .fin, at: now)
      } else {
        switch errno {
        case EINTR: continue
        case EAGAIN: return
        default: return ended(index, .reset, at: now)
        }
      }
    }
  }

  private func ended(_ index: Int32, _ ending: ConnectionEnding, at now: Int64) {
    guard slots[Int(index)].phase == .talking else {
      let after = TimeSpan(nanoseconds: now - slots[Int(index)].answered)
      switch ending {
      case .fin: finish(index, .closed, "\(Answer.closed), \(after) after it was accepted", at: now)
      case .reset: finish(index, .reset, "\(Answer.reset), \(after) after it was accepted", at: now)
      }
      return
    }
    // There is nothing left to wait for on this connection.
    if converse(index, at: now, { $0.end(ending, at: now) }) { conclude(index) }
  }

  func expire(_ index: Int32, at now: Int64) {
    let slot = slots[Int(index)]
    switch slot.phase {
    case .free: break
    case .connecting:
      // Closing a socket that has only sent SYNs sends nothing.
      let count = ProbeSocket.synCount(slot.descriptor)
      let reason = "no answer to \(count == 1 ? "the SYN" : "\(count) SYNs") in "
      finish(index, .timeout, reason + "\(TimeSpan(nanoseconds: timeout))", at: now)
    case .settling: finish(index, .open, nil, at: slot.answered)
    case .talking:
      // One that sets itself no new time would wait for ever.
      if converse(index, at: now, { $0.expire(at: now) }), !deadlines.isSet(index) {
        conclude(index)
      }
    }
  }

  /// Gives the conversation a turn.
  /// - Returns: whether the slot's connection is still the same.
  private func converse(
    _ index: Int32, at now: Int64, _ turn: (inout any Conversation) -> ConversationStep
  ) -> Bool {
    guard var conversation = conversations[index] else { return false }
    let step = turn(&conversation)
    conversations[index] = conversation
    let generation = slots[Int(index)].generation
    follow(step, index, at: now)
    return slots[Int(index)].phase == .talking && slots[Int(index)].generation == generation
  }

  private func follow(_ step: ConversationStep, _ index: Int32, at now: Int64) {
    switch step {
    case .goOn: break
    case .wait(let length): deadlines.set(index, after: length.nanoseconds, now: now)
    case .say(let bytes, let length):
      deadlines.set(index, after: length.nanoseconds, now: now)
      // It is a few hundred bytes into an empty buffer. If the other side is gone, reading says so.
      _ = bytes.withUnsafeBytes {
        send(slots[Int(index)].descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
      }
    case .reconnect:
      drop(index)
      slots[Int(index)].phase = .free
      if connect(index) != .started {
        slots[Int(index)].descriptor = -1
        conclude(index)
      }
    case .done: conclude(index)
    }
  }

  private func conclude(_ index: Int32) {
    let verdict = conversations[index]?.verdict
    finish(index, verdict?.outcome ?? .open, verdict?.reason, at: slots[Int(index)].answered)
  }
}
