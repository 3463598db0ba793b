import Evidence

/// nginx's configuration for a scenario: every backend has an upstream of its own, `only_NAME`, behind
/// `/NAME/`, so that a fault is steered to whom it is meant for and disables nobody (a group of one
/// server ignores max_fails); all of them together are `pair`, behind `/pair/`.
struct NginxText {
  var scenario: Scenario
  var servers: [Server]
  var directory: String
  var listen: Endpoint
  var logs: LabOptions.AccessLogs

  var text: String {
    let upstreams = servers.map { server in
      """
        upstream only_\(server.name) {
          server \(server.address);
          \(server.launch.upstream)
          \(lines("upstream", server.name))
        }
      """
    }
    let locations = servers.map { server in
      location(server.name, server.launch.pass, group: "only_\(server.name)")
    }
    return """
      # Written by upclose's lab for one run.
      daemon off;
      user root;
      worker_processes \(scenario.nginxWorkers);
      pid \(directory)/nginx.pid;
      error_log \(directory)/error.log info;
      \(lines("main", nil))
      events { \(events) }
      http {
      \(accessLog)
      \(temporaryPaths)
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        add_header X-Upstream $upstream_addr always;
        keepalive_requests 100000;
        client_max_body_size 64m;
        client_header_buffer_size 32k;
        large_client_header_buffers 4 64k;
        \(lines("http", nil))
      \(upstreams.joined(separator: "\n"))
        upstream pair {
          \(pairServers)
          keepalive 32;
          \(lines("upstream", "pair"))
        }
        server {
          listen \(listen);
          server_name lab.example;
          \(lines("server", nil))
      \(locations.joined(separator: "\n"))
      \(location("pair", servers.first?.launch.pass ?? "", group: "pair"))
        }
      }

      """
  }

  private var events: String {
    let own = lines("events", nil)
    return own.isEmpty ? "worker_connections 512;" : own
  }

  private var pairServers: String {
    servers.map { "server \($0.address) max_fails=1 fail_timeout=2s;" }.joined(separator: " ")
  }

  private func location(_ name: String, _ pass: String, group: String) -> String {
    """
        location /\(name)/ {
          \(pass.replacing("GROUP", with: group))
          \(lines("location", name))
        }
    """
  }

  private func lines(_ place: String, _ backend: String?) -> String {
    scenario.nginx.filter { $0.place == place && ($0.backend == nil || $0.backend == backend) }
      .map { $0.text.replacing("DIRECTORY", with: directory) }.joined(separator: "\n    ")
  }

  private var accessLog: String {
    switch logs {
    case .none: "  access_log off;"
    case .combined: "  access_log \(directory)/access.log;"
    case .exact:
      """
        log_format lab '$msec $pid $connection $connection_requests $remote_addr:$remote_port '
                       '$status [$upstream_addr] [$upstream_status] [$upstream_connect_time] '
                       '[$upstream_header_time] [$upstream_response_time] [$upstream_bytes_sent] '
                       '[$upstream_bytes_received] $body_bytes_sent $request_length $request_time '
                       '"$request"';
        access_log \(directory)/access.log lab;
      """
    }
  }

  private var temporaryPaths: String {
    ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map {
      "  \($0)_temp_path \(directory)/\($0);"
    }.joined(separator: "\n")
  }
}
