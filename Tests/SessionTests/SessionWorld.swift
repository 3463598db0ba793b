import CaptureFile
import Evidence
import Foundation
import Testing

@testable import Session

/// Sessions written by hand, in a directory of the test's own.
final class SessionWorld {
  let directory = NSTemporaryDirectory() + "upclose-session-\(UUID().uuidString)"

  init() throws {
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(atPath: directory) }

  func path(_ name: String) -> String { directory + "/" + name }

  static func time(_ milliseconds: Int64) -> Timestamp {
    Timestamp(nanoseconds: 1_700_000_000_000_000_000 + milliseconds * 1_000_000)
  }

  static func info(_ session: String, host: String = "web1", limit: UInt64 = 1 << 30)
    -> RecordingInfo
  {
    RecordingInfo(
      session: session, recorder: "upclose test", host: host, started: time(0), limit: limit)
  }

  static func observation(
    _ milliseconds: Int64, host: String = "web1", _ fact: Observation.Fact
  ) -> Observation {
    Observation(host: host, time: TimeEstimate(exactly: time(milliseconds)), fact: fact)
  }

  static func note(_ milliseconds: Int64, host: String = "web1", _ text: String) -> Observation {
    observation(
      milliseconds, host: host, .kernel(KernelEvent(kind: .other, text: text)))
  }

  static func connection(_ id: UInt64, at milliseconds: Int64, port: UInt16 = 50_000) -> Connection
  {
    Connection(
      id: id,
      flow: Flow(
        originator: Endpoint(address: IPAddress(v4: 0x0a00_0001), port: port),
        responder: Endpoint(address: IPAddress(v4: 0x0a00_0002), port: 8080)),
      connState: .sf, history: "ShADadFf", firstPacket: time(milliseconds - 10),
      lastPacket: time(milliseconds), closedAt: time(milliseconds), closer: .responder,
      manner: .fin, phase: .idle, exchanges: 3)
  }

  static func nginx() -> Observation {
    observation(0, .nginx(NginxInstance(master: 1, workers: [2])))
  }

  /// Writes a session: each step is an observation, or a watermark.
  func write(
    _ name: String, _ info: RecordingInfo, isEnded: Bool = true,
    _ steps: [SessionReplay.Step]
  ) throws {
    let writer = SessionWriter(
      files: [try RecordingFile(path: path(name))], info: info, interface: "any")
    for step in steps {
      switch step {
      case .observe(let observation):
        writer.add(.observation(observation), at: observation.time.best)
      case .advance(let time): writer.add(.advance([time]), at: time)
      }
    }
    if isEnded { writer.finish(at: Self.time(0)) } else { writer.flush() }
    #expect(writer.failure == nil)
  }

  /// What a replay of some files says, in words.
  func replay(_ names: String...) throws -> [String] {
    let files = try names.flatMap { try SessionFile.content(of: path($0)).sessions }
    let replay = SessionReplay(files)
    var told: [String] = []
    while let step = replay.next() {
      switch step {
      case .observe(let observation): told.append(ObservationText.message(observation.fact))
      case .advance(let time):
        told.append("@\((time - Self.time(0)).nanoseconds / 1_000_000)")
      }
    }
    return told
  }
}
