#!/usr/bin/env python3
"""An nginx on 127.0.0.1 with one upstream where nothing listens, and one that is itself and keeps an
idle connection for a second."""
import sys

DIRECTORY = sys.argv[1]
print(f"""
user root;
pid {DIRECTORY}/nginx.pid;
error_log {DIRECTORY}/error.log;
events {{ worker_connections 64; }}
http {{
  log_format tries '$msec $status $connection $connection_requests "$request" $upstream_addr '
    '$upstream_status $upstream_connect_time $upstream_header_time $upstream_response_time';
  access_log {DIRECTORY}/access.log tries;
  client_body_temp_path {DIRECTORY}/body; proxy_temp_path {DIRECTORY}/proxy;
  fastcgi_temp_path {DIRECTORY}/fastcgi; uwsgi_temp_path {DIRECTORY}/uwsgi;
  scgi_temp_path {DIRECTORY}/scgi;
  upstream pair {{
    server 127.0.0.1:18481 max_fails=0; server 127.0.0.1:18482; keepalive 4;
  }}
  server {{
    listen 127.0.0.1:18480;
    location / {{ proxy_pass http://pair; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
  server {{ listen 127.0.0.1:18482; keepalive_timeout 1s; access_log off; return 200 "well"; }}
}}""")
