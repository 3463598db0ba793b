import Correlator
import Evidence
import Foundation
import Testing

/// The same observations with the same watermarks give the same incidents: whatever the batches, and
/// after a way through JSON.
@Suite struct ReplayTests {
  private enum Step {
    case observe(Observation)
    case advance(Timestamp)
  }

  /// A session in which everything happens at once, in an order that the seed decides.
  private func session(seed: UInt64) -> [Step] {
    var random = SplitMix(state: seed)
    var story = Story(isRecording: true)
    story.nginx(workers: [100, 101])
    story.watchAll()
    for index in 0..<60 {
      let time = 1000 + Double(index) * 40 + Double(random.next() % 300) / 10
      let backend = random.next() % 2 == 0 ? Story.a : Story.b
      let worker: Int32 = random.next() % 2 == 0 ? 100 : 101
      switch random.next() % 7 {
      case 0:
        story.stale(backend, at: time, idle: .milliseconds(2000 + Int64(random.next() % 30)))
        story.error(.prematurelyClosed, .tcp(backend), at: time, worker: worker)
      case 1:
        let connection = story.closedUnanswered(backend, at: time)
        story.owner(connection, pid: Int32(300 + index))
        story.error(.prematurelyClosed, .tcp(backend), at: time, worker: worker)
        if random.next() % 2 == 0 { story.oomKill(pid: Int32(300 + index), at: time + 1) }
      case 2:
        story.refused(backend, at: time)
        story.error(.connectFailed, .tcp(backend), at: time, errno: 111, worker: worker)
      case 3: story.error(.noLiveUpstreams, .group("pair"), at: time, worker: worker)
      case 4: story.idleClose(backend, at: time, idle: .milliseconds(2000 + Int64(index)))
      case 5:
        story.observe(
          .reuseGaps(ReuseGaps(responder: backend, counts: [3: 4, 40: UInt64(index + 1)])), at: time
        )
      default:
        // An error whose close is never told.
        story.error(.recvFailed, .tcp(backend), at: time, errno: 104, worker: worker)
      }
    }
    var steps: [Step] = []
    var watermark = 0.0
    for observation in story.recorded {
      steps.append(.observe(observation))
      let now = (observation.time.best - Story.start).seconds * 1000
      if now > watermark, random.next() % 3 == 0 {
        watermark = now + Double(random.next() % 90)
        steps.append(.advance(story.at(watermark)))
      }
    }
    return steps
  }

  private struct Outcome: Codable, Equatable {
    var given: [Incident]
    var summary: Summary
  }

  private func play(
    _ steps: [Step], extra: Bool = false, change: (Observation) throws -> Observation = { $0 }
  ) throws -> Outcome {
    var correlator = Correlator()
    var given: [Incident] = []
    var last = Story.start
    for step in steps {
      switch step {
      case .observe(let observation): correlator.observe(try change(observation))
      case .advance(let time):
        if extra, time > last {
          // Told more often than the recording says, and again what is known.
          let half = Timestamp(nanoseconds: (last.nanoseconds + time.nanoseconds) / 2)
          for moment in [half, last, half] { given += correlator.advance(to: moment) }
        }
        given += correlator.advance(to: time)
        last = max(last, time)
      }
    }
    given += correlator.finish()
    return Outcome(given: given, summary: correlator.summary())
  }

  private func bytes(_ outcome: Outcome) throws -> Data {
    let encoder = JSONEncoder()
    encoder.outputFormatting = .sortedKeys
    return try encoder.encode(outcome)
  }

  @Test(arguments: 1...12) func `replayed, the same bytes`(seed: UInt64) throws {
    let steps = session(seed: seed)
    let first = try play(steps)
    #expect(!first.given.isEmpty)
    #expect(try bytes(first) == bytes(play(steps)))
  }

  @Test(arguments: 1...12) func `told of time more often, the same bytes`(seed: UInt64) throws {
    let steps = session(seed: seed)
    #expect(try bytes(play(steps)) == bytes(play(steps, extra: true)))
  }

  @Test(arguments: 1...12) func `only the last watermark of each tick, the same bytes`(seed: UInt64)
    throws
  {
    let steps = session(seed: seed)
    var ticks: [Step] = []
    var tick = Int64.min
    for step in steps {
      if case .advance(let time) = step {
        let now = time.nanoseconds / Correlator.tick.nanoseconds
        if now == tick { continue }
        tick = now
      }
      ticks.append(step)
    }
    #expect(try bytes(play(steps)) == bytes(play(ticks)))
  }

  @Test(arguments: 1...6) func `after a way through JSON, the same bytes`(seed: UInt64) throws {
    let steps = session(seed: seed)
    let again = try play(steps) { observation in
      let line = try JSONEncoder().encode(observation)
      let back = try JSONDecoder().decode(Observation.self, from: line)
      #expect(back == observation)
      return back
    }
    #expect(try bytes(play(steps)) == bytes(again))
  }
}

/// A small generator, the same on every machine (Steele, Lea and Flood 2014).
struct SplitMix {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
}
