import Evidence

extension HostState {
  /// What the processes behind an upstream did around a moment.
  /// - Parameter owners: who held the connection; their master is the one that counts.
  func poolEnd(
    _ processes: [ProcessIdentity], owners: [ProcessIdentity], around moment: TimeEstimate
  ) -> PoolEnd {
    var end = PoolEnd()
    let pids = Set(processes.map(\.pid))
    let known = owners.contains { $0.parent != nil } ? owners : processes
    let masters = Set(known.compactMap(\.parent)).subtracting([0, 1])
    var ended: Set<Int32> = []
    var gone: Set<Int32> = []
    for death in deaths where !death.isKernelsWord && pids.contains(death.pid) {
      if death.time.distance(to: moment) <= .milliseconds(500) {
        ended.insert(death.pid)
      } else if death.time.latest < moment.earliest {
        gone.insert(death.pid)
      }
    }
    let workers = pids.subtracting(masters)
    end.masterLives = !masters.intersection(pids).subtracting(ended).subtracting(gone).isEmpty
    end.ended = ended.count
    end.alive = workers.subtracting(ended).subtracting(gone)
      .count { lineage.wasThere($0, before: moment.earliest) }
    end.masterEnded = deaths.last {
      masters.contains($0.pid) && !$0.isKernelsWord
        && $0.time.latest >= moment.earliest - .seconds(10)
        && $0.time.earliest <= moment.latest + .milliseconds(300)
    }
    end.masterAsked =
      masters.sorted().lazy.compactMap { master in
        witness.asked(master, around: moment)?.signal
      }.first
    return end
  }
}
