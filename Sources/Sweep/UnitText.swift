/// A systemd service and timer that sweep regularly.
public enum UnitText {
  /// - Parameters:
  ///   - program: its path.
  ///   - arguments: of one round, `sweep` included.
  ///   - every: seconds between two rounds.
  ///   - writable: directories that it writes to.
  public static func render(
    program: String, arguments: [String], every: Double, writable: [String] = []
  ) -> String {
    let command = ([program] + arguments).map(quoted).joined(separator: " ")
    let paths =
      writable.isEmpty
      ? "" : "ReadWritePaths=\(writable.map(quoted).joined(separator: " "))\n"
    let interval = every == every.rounded() ? "\(Int(every))" : "\(every)"
    return """
      # /etc/systemd/system/upclose-sweep.service
      [Unit]
      Description=TCP port health by upclose
      Documentation=man:systemd.timer(5)
      After=network-online.target
      Wants=network-online.target

      [Service]
      Type=oneshot
      ExecStart=\(command)
      # 1: some port is down. That is a finding and not a failure of the service.
      SuccessExitStatus=1
      LimitNOFILE=65536
      NoNewPrivileges=yes
      ProtectSystem=strict
      ProtectHome=read-only
      PrivateTmp=yes
      \(paths)
      # /etc/systemd/system/upclose-sweep.timer
      [Unit]
      Description=TCP port health by upclose, every \(interval) s

      [Timer]
      OnActiveSec=1
      OnUnitInactiveSec=\(interval)
      AccuracySec=100ms

      [Install]
      WantedBy=timers.target

      # systemctl daemon-reload && systemctl enable --now upclose-sweep.timer

      """
  }

  /// An argument of ExecStart: quoted where it must be, `%` and `$` doubled (systemd.service(5)).
  static func quoted(_ argument: String) -> String {
    var text = ""
    var isPlain = !argument.isEmpty
    for character in argument {
      switch character {
      case "%": text += "%%"
      case "$": text += "$$"
      case "\\", "\"":
        text += "\\\(character)"
        isPlain = false
      default:
        if character.isWhitespace || "'#;&|<>()".contains(character) { isPlain = false }
        text.append(character)
      }
    }
    return isPlain ? text : "\"\(text)\""
  }
}
