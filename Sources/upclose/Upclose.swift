import ArgumentParser

/// As `--version` says it.
let programVersion = "upclose 0.1.0"

@main
struct Upclose: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "upclose",
    abstract: "Says who closed the TCP connection behind each nginx upstream error, how, and why.",
    discussion: """
      Start it on the nginx host, as root, while errors such as "upstream prematurely closed \
      connection" come in:

        upclose attach                 watch until Ctrl-C, then say what to change
        upclose attach --duration 5m   the same for five minutes
        upclose replay F               the same from a recorded session, or files, without root
        upclose report F --format pcapng   a recorded session's incidents for Wireshark
        upclose connections F          every TCP connection of a capture
        upclose sweep HOST:PORT ...    whether ports are open, once or periodically

      Exit codes: 0 nothing wrong was found; 1 upstream errors were found; 2 it could not do its \
      work; 64 wrong usage.
      """,
    version: programVersion,
    subcommands: [
      AttachCommand.self, ReplayCommand.self, ReportCommand.self, ConnectionsCommand.self,
      SweepCommand.self, AuditCommand.self, DoctorCommand.self, DemoCommand.self,
      SchemaCommand.self, TextfileHelper.self,
    ])
}
