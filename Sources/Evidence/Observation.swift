/// One timestamped fact from one probe. Observations are all that the correlator ever sees: live,
/// from a recorded session, or from files.
public struct Observation: Hashable, Codable, Sendable {
  /// The host that saw it.
  public var host: String
  public var time: TimeEstimate
  public var fact: Fact

  public init(host: String, time: TimeEstimate, fact: Fact) {
    self.host = host
    self.time = time
    self.fact = fact
  }

  public enum Fact: Hashable, Codable, Sendable {
    /// A TCP connection ended, or more is known of one that had.
    case connection(Connection)
    /// The last packets of a connection whose close explains an incident.
    case packets(PacketTrail)
    /// Others ended as they should, too many to tell each.
    case ordinaryCloses(OrdinaryCloses)
    /// How long connections had been idle when they were reused.
    case reuseGaps(ReuseGaps)
    /// How long an upstream's answers took to begin.
    case responseTimes(ResponseTimes)
    /// nginx wrote to its error log.
    case nginxLine(NginxLine)
    /// Errors in its log that were too many to tell each.
    case nginxErrorCount(NginxErrorCount)
    /// A request that nginx wrote to its access log, and that matters.
    case nginxRequest(NginxRequest)
    /// What the access log says of an upstream so far.
    case upstreamTraffic(UpstreamTraffic)
    /// An nginx was found, or its configuration changed.
    case nginx(NginxInstance)
    /// The kernel wrote to its log.
    case kernel(KernelEvent)
    case socket(SocketSighting)
    case process(ProcessSighting)
    case processExit(ProcessExit)
    case processReplaced(ProcessReplaced)
    case signal(SignalSent)
    case socketAct(SocketAct)
    case resetSent(ResetSent)
    case socketDeath(SocketDeath)
    case unixSocket(UnixSocketSighting)
    case descriptors(DescriptorUse)
    /// A backend wrote to its own log.
    case backendLine(BackendLine)
    case port(PortCheck)
    case counters(Counters)
    case blindSpot(BlindSpot)
  }
}
