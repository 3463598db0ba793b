import Evidence

@testable import KernelProbe

/// Runs a log through the assembler, a line a record.
func events(_ log: String, fragments: Set<Int> = []) -> [KernelEvent] {
  var assembler = KernelEventAssembler()
  var result: [KernelEvent] = []
  for (index, line) in log.split(separator: "\n").enumerated() {
    result += assembler.consume(
      Array(line.utf8), isFragment: fragments.contains(index), stamp: KernelStamp()
    ).map(\.event)
  }
  return result + assembler.flush().map(\.event)
}

func kills(_ log: String) -> [OOMKill] {
  events(log).compactMap { if case .oomKill(let kill) = $0.kind { kill } else { nil } }
}

func faults(_ log: String) -> [Fault] {
  events(log).compactMap { if case .fault(let fault) = $0.kind { fault } else { nil } }
}

/// A memory cgroup (v1) of 20 MiB, recorded on Linux 6.18; the process had named itself.
let memoryCgroup618 = """
  we (ird) x invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0
  CPU: 0 UID: 0 PID: 7366 Comm: we (ird) x Not tainted 6.18.44 #1 PREEMPT(none) 
  Call Trace:
   <TASK>
   dump_stack_lvl+0x57/0x80
   oom_kill_process.cold+0x8/0x8a
   </TASK>
  memory: usage 20480kB, limit 20480kB, failcnt 0
  memory+swap: usage 20480kB, limit 20480kB, failcnt 0
  kmem: usage 44kB, limit 9007199254740988kB, failcnt 0
  Memory cgroup stats for /backend:
  cache 0
  rss 20926464
  Tasks state (memory values in pages):
  [  pid  ]   uid  tgid total_vm      rss rss_anon rss_file rss_shmem pgtables_bytes swapents oom_score_adj name
  [   7366]     0  7366     9281     7697     6784      913         0   114688        0             0 we (ird) x
  oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/backend,task_memcg=/backend/worker,task=we (ird) x,pid=7366,uid=0
  Memory cgroup out of memory: Killed process 7366 (we (ird) x) total-vm:37124kB, anon-rss:27136kB, file-rss:3652kB, shmem-rss:0kB, UID:0 pgtables:112kB oom_score_adj:0
  """
