import Evidence

/// nginx's configuration in the lab: laid out so that every fault has exactly one effect.
///
/// * `upstream pair` takes the ordinary load, as a real pair would: keepalive, one failure disables a
///   server for 2 s.
/// * `only_a` and `only_b` have one server each, and steer a fault to a chosen backend. nginx ignores
///   `max_fails` in such a group, so a fault disables nobody and the next one is not masked; and a
///   failed POST on a reused connection is final there, while a GET would be retried silently and
///   the client would see a 200.
/// * `/impatient/` gives up after 700 ms.
/// * Paths are passed unchanged, so that client, error log and packets name a request alike.
/// * `X-Upstream` tells the client whom nginx tried: the lab's own proof that a fault hit the backend
///   it was meant for, and that nothing was retried.
struct NginxConfiguration {
  /// Everything of this nginx is in here; nothing of the host's is used.
  var directory: String
  var listen: Endpoint
  var a: Endpoint
  var b: Endpoint
  /// Modules that this nginx was built without, as `fastcgi`: their directives would be refused.
  var missingModules: Set<String>

  static let readTimeoutOfImpatient: Int64 = 700
  static let failTimeoutSeconds: Int64 = 2

  var text: String {
    """
    # Written by upclose's lab for one run.
    daemon off;
    worker_processes 1;
    pid \(directory)/nginx.pid;
    error_log \(directory)/error.log info;
    events { worker_connections 512; }
    http {
      log_format lab '$msec $pid $connection $connection_requests $remote_addr:$remote_port '
                     '$status [$upstream_addr] [$upstream_status] [$upstream_connect_time] '
                     '[$upstream_header_time] [$upstream_response_time] [$upstream_bytes_sent] '
                     '[$upstream_bytes_received] $body_bytes_sent $request_length $request_time '
                     '"$request"';
      access_log \(directory)/access.log lab;
    \(temporaryPaths)
      upstream pair {
        server \(a) max_fails=1 fail_timeout=\(Self.failTimeoutSeconds)s;
        server \(b) max_fails=1 fail_timeout=\(Self.failTimeoutSeconds)s;
        keepalive 16;
      }
      upstream only_a { server \(a); keepalive 16; }
      upstream only_b { server \(b); keepalive 16; }
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      add_header X-Upstream $upstream_addr always;
      keepalive_requests 100000;
      server {
        listen \(listen);
        server_name lab.example;
        location / { proxy_pass http://pair; }
        location /a/ { proxy_pass http://only_a; }
        location /b/ { proxy_pass http://only_b; }
        location /impatient/ {
          proxy_pass http://only_b;
          proxy_read_timeout \(Self.readTimeoutOfImpatient)ms;
        }
      }
    }

    """
  }

  /// Without these nginx would make directories where it was compiled to, as `/var/lib/nginx`.
  private var temporaryPaths: String {
    let directives = [
      ("", "client_body"), ("proxy", "proxy"), ("fastcgi", "fastcgi"), ("uwsgi", "uwsgi"),
      ("scgi", "scgi"),
    ]
    return directives.filter { !missingModules.contains($0.0) }.map {
      "  \($0.1)_temp_path \(directory)/\($0.1);"
    }.joined(separator: "\n")
  }

  /// - Parameter version: what `nginx -V` prints.
  static func missingModules(version: String) -> Set<String> {
    Set(
      ["fastcgi", "uwsgi", "scgi"].filter { version.contains("--without-http_\($0)_module") })
  }
}
