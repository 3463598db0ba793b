import Evidence
import Glibc
import LinuxHost
import Testing

@testable import TraceProbe

/// What is told of which events, and what is not believed.
@Suite struct TraceInterpreterTests {
  private static let server = TraceFormatTests.endpoint("10.0.0.2:8080")
  private static let client = TraceFormatTests.endpoint("10.0.0.1:40001")

  private let app = ProcessIdentity(pid: 77, command: "app", parent: 70)
  private let nginx = ProcessIdentity(pid: 50, command: "nginx", parent: 49)

  private func interpreter() -> TraceInterpreter {
    // No process of this table is alive: only what was told is known.
    var census = ThreadCensus(table: ProcTable(root: "/nowhere"))
    census.know(app)
    census.know(nginx)
    return TraceInterpreter(
      census: census, reasons: [11: "TCP_ABORT_ON_CLOSE"], watching: [Self.server],
      ownProcess: 1)
  }

  private func event(
    _ kind: TraceEvent.Kind, thread: Int32 = 77, time: UInt64 = 1_000_000_000,
    isInterrupt: Bool = false
  ) -> TraceEvent {
    TraceEvent(time: time, thread: thread, isInterrupt: isInterrupt, kind: kind)
  }

  private func state(_ from: TCPState, _ to: TCPState, socket: UInt64 = 1) -> TraceEvent.Kind {
    .state(socket: socket, from: from, to: to, local: Self.server, remote: Self.client)
  }

  private func close(by process: ProcessIdentity, isExiting: Bool = false) -> Observation.Fact {
    .socketAct(
      SocketAct(
        act: .close, role: .responder, local: Self.server, remote: Self.client, process: process,
        isExiting: isExiting))
  }

  @Test func `a FIN has its author`() {
    var traced = interpreter()
    #expect(traced.interpret(event(state(.established, .finWait1))) == close(by: app))
    #expect(traced.interpret(event(state(.closeWait, .lastACK))) == close(by: app))
  }

  @Test func `an interrupt has none`() {
    var traced = interpreter()
    #expect(traced.interpret(event(state(.established, .finWait1), isInterrupt: true)) == nil)
    #expect(traced.interpret(event(state(.established, .close), isInterrupt: true)) == nil)
  }

  @Test func `a socket that a reset took from its process was not closed by it`() {
    var traced = interpreter()
    // The reset was handled when the process let go of the socket: in its context, not by it.
    #expect(traced.interpret(event(state(.established, .close))) == nil)
    #expect(traced.interpret(event(state(.established, .finWait1, socket: 2))) == close(by: app))
  }

  @Test func `an abort is a step to CLOSE and a reset by the same thread`() {
    let reset = TraceEvent.Kind.resetSent(
      socket: 1, state: .close, reason: 11, local: Self.server, remote: Self.client)
    func sent(by process: ProcessIdentity?) -> Observation.Fact {
      .resetSent(
        ResetSent(
          local: Self.server, remote: Self.client, role: .responder,
          reason: "TCP_ABORT_ON_CLOSE", state: "TCP_CLOSE", process: process))
    }
    var traced = interpreter()
    #expect(traced.interpret(event(state(.established, .close))) == nil)
    #expect(traced.interpret(event(reset, time: 1_000_001_000)) == sent(by: app))
    // A second reset, or one by somebody else, is not the process's.
    #expect(traced.interpret(event(reset, time: 1_000_002_000)) == sent(by: nil))
    _ = traced.interpret(event(state(.established, .close)))
    #expect(traced.interpret(event(reset, thread: 50)) == sent(by: nil))
    _ = traced.interpret(event(state(.established, .close)))
    traced.sweep(before: 2_000_000_000)
    #expect(traced.interpret(event(reset, time: 2_000_001_000)) == sent(by: nil))
  }

  @Test func `what a thread closes after it began to end, its end closes`() {
    var traced = interpreter()
    _ = traced.interpret(event(.newTask(78, isThread: true)))
    _ = traced.interpret(event(.exit(thread: 78, isLast: true)))
    #expect(
      traced.interpret(event(state(.established, .finWait1), thread: 78))
        == close(by: app, isExiting: true))
    // A pid is used again: the new owner lives.
    _ = traced.interpret(event(.newTask(78, isThread: false), thread: 70))
    #expect(
      traced.interpret(event(state(.established, .finWait1), thread: 78))
        == close(by: ProcessIdentity(pid: 78, command: "", parent: 70)))
  }

  @Test func `a connect is known by its socket until it has a port`() {
    var traced = interpreter()
    let early = Endpoint(address: Self.client.address, port: 0)
    let syn = TraceEvent.Kind.state(
      socket: 9, from: .close, to: .synSent, local: early, remote: Self.server)
    let open = TraceEvent.Kind.state(
      socket: 9, from: .synSent, to: .established, local: Self.client, remote: Self.server)
    #expect(traced.interpret(event(syn, thread: 50)) == nil)
    // The answer came in an interrupt of somebody else.
    #expect(
      traced.interpret(event(open, thread: 3, isInterrupt: true))
        == .socketAct(
          SocketAct(
            act: .connect, role: .originator, local: Self.client, remote: Self.server,
            process: nginx)))
    #expect(traced.interpret(event(open, thread: 3, isInterrupt: true)) == nil)
  }

  @Test func `other endpoints are nobody's business`() {
    var traced = interpreter()
    let other = TraceFormatTests.endpoint("10.0.0.3:8080")
    let kind = TraceEvent.Kind.state(
      socket: 1, from: .established, to: .finWait1, local: other, remote: Self.client)
    #expect(traced.interpret(event(kind)) == nil)
    traced.watch([other])
    #expect(traced.interpret(event(kind)) != nil)
  }

  @Test func `a signal's sender is a process only where one sent it`() {
    var traced = interpreter()
    func signal(_ code: Int32) -> TraceEvent.Kind {
      .signal(number: 9, code: code, target: 77, command: "app")
    }
    #expect(
      traced.interpret(event(signal(0), thread: 50))
        == .signal(SignalSent(signal: 9, target: app, sender: nginx)))
    // SI_KERNEL: whoever needed the memory did not send it.
    #expect(
      traced.interpret(event(signal(128), thread: 50))
        == .signal(SignalSent(signal: 9, target: app)))
    #expect(
      traced.interpret(event(signal(0), thread: 50, isInterrupt: true))
        == .signal(SignalSent(signal: 9, target: app)))
  }

  @Test func `a storm of signals to strangers is cut, one to a known process is told`() {
    var traced = interpreter()
    var told = 0
    for pid in 1000..<2000 as Range<Int32> {
      let kind = TraceEvent.Kind.signal(number: 15, code: 0, target: pid, command: "x")
      if traced.interpret(event(kind, thread: 50)) != nil { told += 1 }
    }
    #expect(told == 200)
    #expect(traced.counters["signals not told"] == 800)
    let kind = TraceEvent.Kind.signal(number: 15, code: 0, target: 77, command: "app")
    #expect(traced.interpret(event(kind, thread: 50)) != nil)
  }

  @Test func `retransmissions are counted by endpoint`() {
    var traced = interpreter()
    let kind = TraceEvent.Kind.retransmission(
      state: .synSent, local: Self.client, remote: Self.server)
    #expect(traced.interpret(event(kind, isInterrupt: true)) == nil)
    #expect(
      traced.counters == [
        "SYN retransmissions": 1, "SYN retransmissions to 10.0.0.2:8080": 1,
      ])
  }

  @Test func `threads of this very process are its own`() {
    var census = ThreadCensus(table: ProcTable())
    census.begin()
    let own = getpid()
    #expect(census.process(of: own).pid == own)
    for thread in ProcTable().threads(of: own) { #expect(census.process(of: thread).pid == own) }
  }
}
