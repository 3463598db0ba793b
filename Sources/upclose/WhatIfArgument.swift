import ArgumentParser
import Correlator

/// A changed setting on the command line.
struct WhatIfArgument: ExpressibleByArgument {
  var setting: WhatIfSetting

  init?(argument: String) {
    guard let setting = WhatIfSetting(argument) else { return nil }
    self.setting = setting
  }
}
