import Evidence
import ProbeTesting
import Testing

@testable import KernelProbe

/// Wordings of mm/oom_kill.c and mm/memcontrol.c, kernel by kernel.
@Suite struct OOMWordingTests {
  @Test func `Linux 6.18, memory cgroup: one kill of the whole report`() {
    #expect(
      events(memoryCgroup618) == [
        KernelEvent(
          kind: .oomKill(
            OOMKill(
              pid: 7366, command: "we (ird) x", isMemoryCgroup: true, cgroup: "/backend/worker",
              residentBytes: (27136 + 3652) << 10, limitBytes: 20480 << 10)),
          text: """
            Memory cgroup out of memory: Killed process 7366 (we (ird) x) total-vm:37124kB, \
            anon-rss:27136kB, file-rss:3652kB, shmem-rss:0kB, UID:0 pgtables:112kB oom_score_adj:0
            """)
      ])
  }

  @Test func `Linux 5.15, the whole host`() {
    let log = """
      node invoked oom-killer: gfp_mask=0x140cca(GFP_HIGHUSER_MOVABLE|__GFP_COMP), order=0, oom_score_adj=0
      oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,task_memcg=/system.slice/app.service,task=node,pid=8123,uid=33
      Out of memory: Killed process 8123 (node) total-vm:22134912kB, anon-rss:1654432kB, file-rss:0kB, shmem-rss:12kB, UID:33 pgtables:9812kB oom_score_adj:0
      oom_reaper: reaped process 8123 (node), now anon-rss:0kB, file-rss:0kB, shmem-rss:12kB
      """
    let all = events(log)
    #expect(
      kills(log) == [
        OOMKill(
          pid: 8123, command: "node", isMemoryCgroup: false, cgroup: "/system.slice/app.service",
          residentBytes: (1_654_432 + 12) << 10)
      ])
    #expect(all.map(\.kind).last == .other)
    #expect(all.count == 2)
  }

  @Test func `Linux 5.10, memory cgroup v2 with swap`() {
    let log = """
      php-fpm8.1 invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0
      memory: usage 524288kB, limit 524288kB, failcnt 182
      swap: usage 0kB, limit 0kB, failcnt 0
      Memory cgroup stats for /system.slice/php.service:
      oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=php.service,mems_allowed=0,oom_memcg=/system.slice/php.service,task_memcg=/system.slice/php.service,task=php-fpm8.1,pid=991,uid=33
      Memory cgroup out of memory: Killed process 991 (php-fpm8.1) total-vm:700000kB, anon-rss:500000kB, file-rss:2048kB, shmem-rss:1024kB, UID:33 pgtables:1200kB oom_score_adj:0
      """
    #expect(
      kills(log) == [
        OOMKill(
          pid: 991, command: "php-fpm8.1", isMemoryCgroup: true,
          cgroup: "/system.slice/php.service",
          residentBytes: 503_072 << 10, limitBytes: 512 << 20)
      ])
  }

  @Test func `Linux 4.9, memory cgroup: a child is killed in its place`() {
    let log = """
      dd invoked oom-killer: gfp_mask=0x14000c0(GFP_KERNEL), nodemask=(null), order=0, oom_score_adj=0
      Task in /test killed as a result of limit of /test
      memory: usage 51200kB, limit 51200kB, failcnt 73
      memory+swap: usage 51200kB, limit 9007199254740988kB, failcnt 0
      Memory cgroup out of memory: Kill process 3861 (bash) score 88 or sacrifice child
      Killed process 3876 (dd) total-vm:8484kB, anon-rss:1052kB, file-rss:1720kB, shmem-rss:0kB
      """
    #expect(
      kills(log) == [
        OOMKill(
          pid: 3876, command: "dd", isMemoryCgroup: true, cgroup: "/test",
          residentBytes: 2772 << 10, limitBytes: 50 << 20)
      ])
  }

  @Test func `Linux 4.4, the whole host`() {
    let log = """
      Out of memory: Kill process 2904 (java) score 921 or sacrifice child
      Killed process 2904 (java) total-vm:3152200kB, anon-rss:981000kB, file-rss:0kB
      """
    #expect(kills(log) == [OOMKill(pid: 2904, command: "java", residentBytes: 981_000 << 10)])
  }

  @Test func `Linux 5.0 breaks its summary in two`() {
    let log = """
      oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0
      ,global_oom,task_memcg=/,task=firewalld,pid=5096,uid=0
      Out of memory: Kill process 5096 (firewalld) score 3 or sacrifice child
      Killed process 5096 (firewalld) total-vm:1kB, anon-rss:2kB, file-rss:3kB, shmem-rss:4kB
      """
    #expect(
      kills(log) == [
        OOMKill(
          pid: 5096, command: "firewalld", isMemoryCgroup: false, cgroup: "/",
          residentBytes: 9 << 10)
      ])
  }

  @Test func `RHEL 6 and 7 name the user first`() {
    let log = """
      Killed process 215701, UID 679, (java) total-vm:11017300kB, anon-rss:7152432kB, file-rss:1232kB
      Killed process 12 (a b), UID 48, total-vm:1kB, anon-rss:2kB, file-rss:0kB, shmem-rss:0kB
      """
    #expect(
      kills(log) == [
        OOMKill(pid: 215_701, command: "java", residentBytes: 7_153_664 << 10),
        OOMKill(pid: 12, command: "a b", residentBytes: 2 << 10),
      ])
  }

  @Test func `a cpuset is neither a limit nor the whole host`() {
    let log = """
      oom-kill:constraint=CONSTRAINT_CPUSET,nodemask=(null),cpuset=db,mems_allowed=1,global_oom,task_memcg=/db,task=mysqld,pid=77,uid=1
      Out of memory: Killed process 77 (mysqld) total-vm:1kB, anon-rss:1kB, file-rss:0kB, shmem-rss:0kB, UID:1 pgtables:1kB oom_score_adj:0
      """
    #expect(
      kills(log) == [OOMKill(pid: 77, command: "mysqld", cgroup: "/db", residentBytes: 1 << 10)])
  }

  @Test func `memory.oom.group kills the rest of the cgroup`() {
    let log =
      memoryCgroup618 + """

        Tasks in /backend are going to be killed due to memory.oom.group set
        Memory cgroup out of memory: Killed process 7367 (helper) total-vm:10kB, anon-rss:1kB, file-rss:1kB, shmem-rss:0kB, UID:0 pgtables:1kB oom_score_adj:0
        Memory cgroup out of memory: Killed process 7368 (helper) total-vm:10kB, anon-rss:1kB, file-rss:1kB, shmem-rss:0kB, UID:0 pgtables:1kB oom_score_adj:0
        """
    let group = kills(log).dropFirst()
    #expect(group.map(\.pid) == [7367, 7368])
    #expect(group.allSatisfy { $0.cgroup == "/backend" && $0.limitBytes == 20 << 20 })
  }

  @Test func `a kill whose report was suppressed borrows nothing from the last one`() {
    let log =
      memoryCgroup618 + """

        Memory cgroup out of memory: Killed process 9 (other) total-vm:10kB, anon-rss:1kB, file-rss:1kB, shmem-rss:0kB, UID:0 pgtables:1kB oom_score_adj:0
        """
    #expect(
      kills(log).last
        == OOMKill(pid: 9, command: "other", isMemoryCgroup: true, residentBytes: 2 << 10))
  }

  @Test func `a name that looks like a report deceives nobody`() {
    let log = """
      oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/a,task_memcg=/a,task=x,pid=1,uid=0,pid=55,uid=0
      Memory cgroup out of memory: Killed process 55 (x,pid=1,uid=0) total-vm:5kB, anon-rss:1kB, file-rss:0kB, shmem-rss:0kB, UID:0 pgtables:1kB oom_score_adj:0
      a Killed process 3 (init) total-vm:1kB invoked something
      """
    #expect(
      kills(log) == [
        OOMKill(
          pid: 55, command: "x,pid=1,uid=0", isMemoryCgroup: true, cgroup: "/a",
          residentBytes: 1 << 10)
      ])
  }

  @Test func `a newline in a name is kept as an escape`() {
    var assembler = KernelEventAssembler()
    let text = "Out of memory: Killed process 5 (a\nb) total-vm:1kB, anon-rss:1kB, file-rss:0kB"
    let events = assembler.consume(Array(text.utf8), stamp: KernelStamp())
    #expect(
      events.map(\.event.kind) == [
        .oomKill(
          OOMKill(pid: 5, command: "a\\x0Ab", isMemoryCgroup: false, residentBytes: 1 << 10))
      ])
  }

  @Test(arguments: [
    "Killed process", "Killed process ", "Killed process x (y)", "Killed process 1", "oom-kill:",
    "oom-kill:constraint=", "memory: usage 1kB, limit kB", "Task in ", "Tasks in  are going",
    "Killed process 99999999999 (x)", "Killed process 1 (", "Killed process 1 )(",
  ])
  func `a line that is cut is no kill`(_ line: String) {
    #expect(kills(line).isEmpty)
  }
}
