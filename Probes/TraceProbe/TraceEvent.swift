import Evidence

/// One record of the ring buffers.
struct TraceEvent: Equatable {
  /// Nanoseconds of CLOCK_MONOTONIC.
  var time: UInt64
  /// The thread that ran (as the host's first pid namespace numbers it).
  var thread: Int32
  /// It ran for a packet, a timer or a device: the thread is whom the interrupt found, and no more.
  var isInterrupt: Bool
  var kind: Kind

  enum Kind: Equatable {
    /// sock/inet_sock_set_state.
    case state(socket: UInt64, from: TCPState, to: TCPState, local: Endpoint, remote: Endpoint)
    /// tcp/tcp_send_reset; the reason is the kernel's number, the state nil without a socket.
    case resetSent(
      socket: UInt64, state: TCPState?, reason: Int?, local: Endpoint, remote: Endpoint)
    /// tcp/tcp_receive_reset.
    case resetReceived(local: Endpoint, remote: Endpoint)
    /// tcp/tcp_retransmit_skb.
    case retransmission(state: TCPState?, local: Endpoint, remote: Endpoint)
    /// sched/sched_process_exit: a thread, and whether it was its process's last (nil: not said).
    case exit(thread: Int32, isLast: Bool?)
    /// sched/sched_process_exec.
    case exec(process: Int32)
    /// task/task_newtask: a thread of the process that ran, or a child of it.
    case newTask(Int32, isThread: Bool)
    /// signal/signal_generate.
    case signal(number: Int32, code: Int32, target: Int32, command: String)
    /// oom/mark_victim; sizes in bytes, nil on kernels before 6.9.
    case outOfMemory(process: Int32, command: String?, residentBytes: UInt64?)
  }
}

/// Linux include/net/tcp_states.h.
enum TCPState: Int32 {
  case established = 1
  case synSent, synReceived, finWait1, finWait2, timeWait, close, closeWait, lastACK, listen
  case closing, newSYNReceived

  /// As the kernel writes it.
  var name: String {
    let names = [
      "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE",
      "CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING", "NEW_SYN_RECV",
    ]
    return "TCP_" + names[Int(rawValue) - 1]
  }
}
