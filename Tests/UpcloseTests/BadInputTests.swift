import Foundation
import Testing

/// Bad input gets an error that names the path and the place, exit code 2, and never a trap.
@Suite struct BadInputTests {
  @Test func `a file that is not there`() throws {
    let outcome = try Program.upclose("connections", "/nonexistent/file.pcap")
    #expect(outcome.status == 2)
    #expect(outcome.err.contains("/nonexistent/file.pcap"))
    #expect(outcome.err.contains("No such file"))
  }

  @Test func `a capture that is none`() throws {
    let scratch = try Scratch()
    let file = try scratch.write("noise.pcap", (0..<400).map { UInt8(truncatingIfNeeded: $0 * 7) })
    let outcome = try Program.upclose("connections", file)
    #expect(outcome.status == 2)
    #expect(outcome.err.contains(file))
  }

  @Test func `a directory instead of a file`() throws {
    let scratch = try Scratch()
    for arguments in [["connections", scratch.path], ["replay", "--error-log", scratch.path]] {
      let outcome = try Program.run(Program.upclose, arguments)
      #expect(outcome.status == 2)
      #expect(outcome.err.contains(scratch.path))
    }
  }

  @Test func `an error log that is binary`() throws {
    let scratch = try Scratch()
    let file = try scratch.write("error.log", (0..<5000).map { UInt8(truncatingIfNeeded: $0 * 13) })
    let outcome = try Program.upclose("replay", "--error-log", file)
    #expect(outcome.status == 2)
    #expect(outcome.err.contains(file))
  }

  @Test func `replay without anything to replay is wrong usage`() throws {
    let outcome = try Program.upclose("replay")
    #expect(outcome.status == 64)
  }

  @Test func `an unknown option is wrong usage`() throws {
    let outcome = try Program.upclose("attach", "--nonsense")
    #expect(outcome.status == 64)
    #expect(outcome.err.contains("--nonsense"))
  }

  @Test func `an output file that cannot be written is named`() throws {
    let scratch = try Scratch()
    let log = try scratch.write("error.log", "".utf8)
    let outcome = try Program.upclose(
      "replay", "--error-log", log, "--output", "/nonexistent/report.txt")
    #expect(outcome.status == 2)
    #expect(outcome.err.contains("/nonexistent/report.txt"))
  }

  @Test func `full Foundation is not linked`() throws {
    let program = try Data(contentsOf: URL(fileURLWithPath: Program.upclose))
    for library in [
      "libFoundation.so", "libFoundationInternationalization.so", "lib_FoundationICU.so",
    ] {
      #expect(program.range(of: Data(library.utf8)) == nil, "\(library) is linked")
    }
    #expect(program.range(of: Data("libFoundationEssentials.so".utf8)) != nil)
  }
}
