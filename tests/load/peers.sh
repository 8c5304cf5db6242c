#!/usr/bin/env bash
# Debian's Dovecot and Postfix beside rmail, privately, on high ports of loopback: what rmail-load compares with.
#
#   peers.sh start DIR     configures and starts them below DIR, and prints their --server options
#   peers.sh stop DIR      stops them
#
# Needs root (both want to change to users of their own), dovecot-imapd, dovecot-lmtpd and postfix. Nothing outside DIR is
# touched; the system's own instances, if any, are not used. Users u1 to u4@example.com, password in RMAIL_LOAD_PASSWORD.
#
#   port   server
#   20410  Dovecot, maildir: IMAP      20411  IMAPS      20412  Postfix that delivers to it by LMTP
#   20420  Dovecot, sdbox: IMAP        20421  IMAPS      20422  Postfix that delivers to it by LMTP
set -euo pipefail

usage() { sed -n '2,13s/^# \{0,1\}//p' "$0"; exit 2; }
[ $# = 2 ] || usage
dir=$(mkdir -p "$2" && cd "$2" && pwd)
password=${RMAIL_LOAD_PASSWORD:-pass}
kinds="maildir sdbox"

ports() { case $1 in maildir) echo 20410 ;; sdbox) echo 20420 ;; esac; }

certificate() {
  [ -f "$dir/cert.pem" ] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
    -subj /CN=localhost -keyout "$dir/key.pem" -out "$dir/cert.pem" 2>/dev/null
}

# One Dovecot for each format, so that each has its own processes and indexes.
dovecot_start() {
  local kind=$1 at=$dir/dovecot-$1 port
  port=$(ports "$kind")
  mkdir -p "$at/mail" "$at/run"
  chown -R mail:mail "$at/mail"
  : > "$at/users"
  for n in 1 2 3 4; do echo "u$n@example.com:{PLAIN}$password:::::" >> "$at/users"; done
  local where="maildir:~/mail"
  [ "$kind" = maildir ] || where="sdbox:~/mail"
  cat > "$at/dovecot.conf" <<CONF
base_dir = $at/run
log_path = $at/log
protocols = imap lmtp
listen = 127.0.0.1
ssl = yes
ssl_cert = <$dir/cert.pem
ssl_key = <$dir/key.pem
disable_plaintext_auth = no
auth_mechanisms = plain
mail_location = $where
mail_uid = mail
mail_gid = mail
first_valid_uid = 1
first_valid_gid = 1
mail_fsync = always
mail_max_userip_connections = 20000
# Hundreds of megabytes in one command, as others take them too.
imap_max_line_length = 1 M
passdb {
  driver = passwd-file
  args = username_format=%u $at/users
}
userdb {
  driver = static
  args = uid=mail gid=mail home=$at/mail/%n
}
namespace inbox {
  inbox = yes
}
default_client_limit = 20000
default_process_limit = 2000
service imap-login {
  inet_listener imap {
    port = $port
  }
  inet_listener imaps {
    port = $((port + 1))
    ssl = yes
  }
  # The fast way of its manual: one process for many logins.
  service_count = 0
}
service lmtp {
  unix_listener $at/lmtp {
    mode = 0666
  }
}
CONF
  dovecot -c "$at/dovecot.conf"
}

postfix_start() {
  local kind=$1 at=$dir/postfix-$1 port
  port=$(($(ports "$kind") + 2))
  mkdir -p "$at/etc" "$at/queue" "$at/data"
  chown postfix "$at/data"
  cat > "$at/etc/main.cf" <<CONF
compatibility_level = 3.6
queue_directory = $at/queue
data_directory = $at/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = mail.example.com
mydestination =
inet_interfaces = loopback-only
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
virtual_mailbox_domains = example.com
virtual_mailbox_maps = inline:{ u1@example.com=u1 u2@example.com=u2 u3@example.com=u3 u4@example.com=u4 }
virtual_transport = lmtp:unix:$dir/dovecot-$kind/lmtp
lmtp_destination_concurrency_limit = 50
lmtp_destination_recipient_limit = 50
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_client_message_rate_limit = 0
default_process_limit = 200
message_size_limit = 104857600
maillog_file = $at/log
maillog_file_prefixes = $at
CONF
  # The system's list of services, with the port in the place of smtp and without chroot.
  sed -e "s/^smtp  *inet .*/127.0.0.1:$port inet n - n - - smtpd/" /etc/postfix/master.cf |
    awk '/^[^#[:space:]]/ && NF >= 8 { $5 = "n" } { print }' > "$at/etc/master.cf"
  grep -q '^postlog ' "$at/etc/master.cf" || echo 'postlog unix-dgram n - n - 1 postlogd' >> "$at/etc/master.cf"
  : > "$at/log"
  postfix -c "$at/etc" start 2>/dev/null
}

case $1 in
start)
  certificate
  for kind in $kinds; do
    dovecot_start "$kind"
    postfix_start "$kind"
    port=$(ports "$kind")
    processes="process:dovecot,process:imap,process:imap-login,process:lmtp,process:auth,process:anvil,process:log"
    processes="$processes,process:master,process:smtpd,process:cleanup,process:qmgr,process:trivial-rewrite"
    echo "--server $kind=imap:$port,imaps:$((port + 1)),smtp:$((port + 2)),$processes"
  done
  ;;
stop)
  for kind in $kinds; do
    postfix -c "$dir/postfix-$kind/etc" stop 2>/dev/null || true
    dovecot -c "$dir/dovecot-$kind/dovecot.conf" stop || true
  done
  ;;
*) usage ;;
esac
