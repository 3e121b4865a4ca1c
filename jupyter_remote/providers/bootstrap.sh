#!/bin/bash
# Makes a worker of a machine that was just started. The dead man's timers come first: whatever
# happens afterwards, the machine ends itself. Every step is told to the server.
set -euo pipefail
set +x
umask 022

@FACTS@

base=${JUPYTER_REMOTE_MACHINE_HOME:-/var/lib/jupyter-remote}
home=$base/$instance
alive=$home/alive
user=${JUPYTER_REMOTE_MACHINE_USER-$user}
export JUPYTER_REMOTE_POWEROFF=${JUPYTER_REMOTE_POWEROFF:-poweroff}
export LC_ALL=C PATH=${PATH:-/usr/bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# The machine ends after $1 hundredths of a second, or when the file $3 has not changed for $2
# (0: whatever it does). /proc/uptime: no clock that is set moves it.
timer='
  trap "" HUP TERM INT
  echo -1000 >/proc/self/oom_score_adj
  look() { read -r up _ </proc/uptime; up=$((10#${up/./})); }
  off() { while :; do $JUPYTER_REMOTE_POWEROFF || $JUPYTER_REMOTE_POWEROFF -f; sleep 20; done; }
  look; end=$((up + $1)); heard=$up; last=
  while :; do
    sleep "$4"
    look; [ "$up" -lt "$end" ] || off
    [ "$2" != 0 ] || continue
    beat=; read -r beat <"$3"
    [ "$beat" = "$last" ] || { last=$beat; heard=$up; }
    [ "$up" -lt "$((heard + $2))" ] || off
  done'
own=$(command -v setsid || true)
$own bash -c "$timer" jupyter-remote-life "$longest_cs" 0 "$alive" "$tick" \
  </dev/null >/dev/null 2>&1 &
$own bash -c "$timer" jupyter-remote-alone "$longest_cs" "$alone_cs" "$alive" "$tick" \
  </dev/null >/dev/null 2>&1 &

# On any failure: the end of the log goes to the server, the machine ends.
step=started why=
over() {
  trap - EXIT
  set +e
  [ -n "$why" ] || why="It failed at this point; its log says why."
  echo "$why"
  report true ''
  { tail -n 30 "$log" >&3; } 2>/dev/null
  $JUPYTER_REMOTE_POWEROFF || $JUPYTER_REMOTE_POWEROFF -f
  exit 1
}
trap over EXIT
fail() { why=$*; exit 1; }

# In memory: a full disk can be told, too.
scratch=$(mktemp -d -p "${TMPDIR:-/dev/shm}" jupyter-remote-XXXXXX || mktemp -d)
log=$scratch/boot.log
exec 3>&1 >>"$log" 2>&1
mkdir -p "$home"
chmod 711 "$home"
(umask 077; printf 'Authorization: Bearer %s\n' "$token" >"$scratch/header")
unset token
now() { read -r up _ </proc/uptime; echo "${up%.*}"; }
began=$(now)
beat() { printf '%-20s' "boot $1" >"$alive"; }  # the worker writes numbers there
beat 0

# METHOD PATH BODY-FILE REPLY-FILE HEADER-FILE LIMIT: sets $status, 000 where nothing answered,
# full where the reply could not be kept.
http() {
  if curl --version >/dev/null 2>&1; then
    local data=()
    [ -n "$3" ] && data=(-H 'Content-Type: application/json' --data-binary "@$3")
    status=$(curl -sS -o "$4" -D "$5" -w '%{http_code}' -m "$6" -X "$1" -H "@$scratch/header" \
      ${data[@]+"${data[@]}"} "$url$2") || { [ $? = 23 ] && status=full || status=000; }
  else
    status=$(python3 - "$1" "$url$2" "$3" "$4" "$5" "$6" "$scratch/header" <<'PY'
import errno, sys, urllib.error, urllib.request
method, url, body, reply, headers, limit, secret = sys.argv[1:]
name, value = open(secret).read().strip().split(": ", 1)
given = {name: value, "Content-Type": "application/json"}
data = open(body, "rb").read() if body else None
class Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_): return None
ask = urllib.request.Request(url, data, given, method=method)
try:
    try:
        got = urllib.request.build_opener(Stay).open(ask, timeout=float(limit))
    except urllib.error.HTTPError as error:
        got = error
    with open(reply, "wb") as out:
        for piece in iter(lambda: got.read(1 << 20), b""):
            out.write(piece)
    if got.length:
        raise EOFError("the reply broke off, %s bytes before its end" % got.length)
    open(headers, "w").write("".join("%s: %s\n" % pair for pair in got.headers.items()))
    print(got.status if hasattr(got, "status") else got.code)
except Exception as error:
    print(error, file=sys.stderr)
    print("full" if getattr(error, "errno", 0) == errno.ENOSPC else "000")
PY
    ) || status=000
  fi
}

# The same until it is answered by 2xx; what is refused is not asked again.
must() {
  local pause=1
  while :; do
    http "$@"
    case $status in
      2*) return 0 ;;
      full) fail "The disk has no room for what the server sent: $2." ;;
      401 | 403 | 404 | 409 | 410 | 413 | 415 | 421 | 422)
        tail -c 2000 "$4"
        fail "The server refused: $1 $2 gave $status." ;;
    esac
    echo "$1 $2: $status"
    [ "$(now)" -lt "$((began + boot))" ] ||
      fail "The server did not answer within $boot s: $1 $2."
    sleep "$pause"
    pause=$((pause < 8 ? pause * 2 : 8))
  done
}

# JSON of a report; $1: whether the step failed.
body() {
  printf '{"instance":"%s","step":"%s","failed":%s,"text":"' "$instance" "$step" "$1"
  tail -c 16000 "$log" | tr -cd '\11\12\40-\176' | sed 's/\\/\\\\/g; s/"/\\"/g; s/\t/\\t/g' |
    awk '{printf "%s\\n", $0}'
  printf '"}'
}
report() {
  body "$1" >"$scratch/report"
  ${2:-http} POST /v1/workers/boot "$scratch/report" "$scratch/reply" "$scratch/headers" 10
}
begin() {
  step=$1
  echo "== $step, $(($(now) - began)) s"
  report false ''
  case $status in 2*) beat "$step" ;; esac
}

echo "== started on $(uname -srm)"
report false must

begin 'finding Python'
minor() { "$1" -I -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true; }
here=$(uname -sm | tr '[:upper:]' '[:lower:]')
exact= other=
for each in /opt/pytorch/bin/python3 /opt/conda/envs/*/bin/python3 /opt/conda/bin/python3 \
  "python$wanted" python3 python3.14 python3.13 python3.12 python3.11 /opt/*/bin/python3; do
  each=$(command -v "$each") || continue
  found=$(minor "$each")
  if [ "$found" = "$wanted" ]; then exact=$each; break; fi
  case $found in 3.1[1-9] | 3.[2-9]?) other=${other:-$each} ;; esac
done
if [ -z "$exact" ]; then
  echo "no Python $wanted here, whose packages the server has (other: ${other:-none})"
  if [ "$here" = "$platform" ]; then
    must GET '/v1/workers/package?part=uv' '' "$home/uv" "$scratch/package" 600
    chmod 755 "$home/uv"
    if UV_PYTHON_INSTALL_DIR=$home/python timeout 300 "$home/uv" python install "$wanted"; then
      exact=$(UV_PYTHON_INSTALL_DIR=$home/python "$home/uv" python find "$wanted") || exact=
      for each in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt; do
        [ -e "$each" ] && export SSL_CERT_FILE=${SSL_CERT_FILE:-$each}
      done
    fi
  fi
fi
python=${exact:-$other}
[ -n "$python" ] || fail "There is no Python 3.11 or newer on this machine, and uv could not \
install Python $wanted. Choose an image that has one, or let machines reach the internet."
echo "Python: $python"

begin 'fetching the worker'
must GET /v1/workers/package '' "$home/worker.zip" "$scratch/package" 600

begin installing
digest=$(tr -d '\r"' <"$scratch/package" | awk 'tolower($1) == "etag:" {print $2}')
"$python" -m venv --without-pip "$home/venv" || fail "$python has no working venv module."
[ "$here" = "$platform" ] && [ -n "$exact" ] && whole=1 || whole=
"$python" -I - "$home" "$digest" "$whole" <<'PY' || fail "The worker could not be installed."
import glob, hashlib, os, site, subprocess, sys, zipfile
home, digest, whole = sys.argv[1:]
path = home + "/worker.zip"
hasher = hashlib.sha256()
with open(path, "rb") as file:
    while piece := file.read(1 << 20):
        hasher.update(piece)
if hasher.hexdigest() != digest:
    sys.exit("what the server sent is damaged: its digest is not %s" % digest)
[packages] = glob.glob(home + "/venv/lib/python3.*/site-packages")
venv = home + "/venv/bin/python"
def unpack(only):
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.filename.startswith(only):
                mode = entry.external_attr >> 16 & 0o777
                os.chmod(archive.extract(entry, packages), mode or 0o644)
unpack("" if whole else ("jupyter_remote", "pip", "requirements.txt"))
if whole:
    os.symlink(packages + "/bin/uv", home + "/venv/bin/uv")
else:
    print("other wheels than the server's are needed: they come from an index", flush=True)
    pip = [venv, "-I", "-m", "pip", "install", "-q", "--no-deps", "--no-input"]
    if subprocess.run([*pip, "-r", packages + "/requirements.txt"]).returncode:
        sys.exit("The packages in requirements.txt could not be installed. Let machines reach an "
                 "index, or choose an image with the server's platform and version of Python.")
# What the image brings can be imported, too, behind ours.
with open(packages + "/zz_of_the_image.pth", "w") as file:
    for folder in site.getsitepackages():
        file.write("import site; site.addsitedir(%r)\n" % folder)
os.remove(path)
PY
worker=$home/venv/bin/python
"$worker" -I -c 'import jupyter_remote.worker.agent' || fail "The worker cannot be imported here."
# Compiles, meanwhile, what kernels import: their user may not write there.
"$worker" -I -c 'import jupyter_remote.worker.zygote' </dev/null >/dev/null 2>&1 3>&- &
if [ "$EUID" = 0 ] && [ -n "$user" ] && ! id "$user" >/dev/null 2>&1; then
  useradd --create-home --shell /bin/bash "$user" || fail "The user $user could not be made."
fi

begin enrolling
meta() { curl -sf -m 1 "$@" 2>/dev/null || true; }
imds=${AWS_EC2_METADATA_SERVICE_ENDPOINT:-http://169.254.169.254}
key=$(meta -X PUT "$imds/latest/api/token" -H 'X-aws-ec2-metadata-token-ttl-seconds: 60')
known() { [ -z "$key" ] || meta "$imds/latest/meta-data/$1" -H "X-aws-ec2-metadata-token: $key" |
  tr -cd 'a-z0-9-'; }
printf '{"instance":"%s","provider_id":"%s","zone":"%s"}' "$instance" "$(known instance-id)" \
  "$(known placement/availability-zone)" >"$scratch/enrol"
(umask 077; : >"$scratch/enrolled")
must POST /v1/workers/enrol "$scratch/enrol" "$scratch/enrolled" "$scratch/headers" 30
[ "$EUID" = 0 ] || user=
"$worker" -I -m jupyter_remote.worker.enrolled --reply "$scratch/enrolled" \
  --config "$scratch/config" --url "$url" --instance "$instance" --home "$home" \
  --longest "$longest_cs" --began "$began" --user "$user"

begin connecting
connected() { case $(cat "$alive") in boot*) return 1 ;; esac; }
(
  set +e
  trap '' HUP
  $own "$worker" -I -m jupyter_remote.worker.agent --config "$scratch/config" \
    </dev/null >"$home/agent.log" 2>&1 &
  agent=$!
  until connected || ! kill -0 "$agent" || [ "$(now)" -ge "$((began + boot))" ]; do sleep 0.5; done
  if ! connected; then
    why="The worker ended before it was connected."
    kill "$agent" && why="The worker could not connect to $url within $boot s."
    tail -n 100 "$home/agent.log"
    over
  fi
  wait "$agent"
  $JUPYTER_REMOTE_POWEROFF || $JUPYTER_REMOTE_POWEROFF -f
) 3>&- &
trap - EXIT
