import ArgumentParser
import BackendProbe

/// `FILE`, `FILE=ADDRESS:PORT` or `journal:UNIT` on the command line.
struct BackendLogArgument: ExpressibleByArgument {
  var source: BackendLogSource

  init?(argument: String) {
    guard let source = BackendLogSource(argument: argument) else { return nil }
    self.source = source
  }
}
