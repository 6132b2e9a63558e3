#!/bin/sh
# HTTPS: a certificate of a private authority is trusted when its file is named, and not otherwise.
# The TLS in front of the fault server is nghttpx (then HTTP/2 is spoken) or a few lines of Python.
#
#     tls.sh FAULT_SERVER TEST_REMOTE_TLS
set -eu
server=$1
test=$2
command -v openssl >/dev/null || { echo 'SKIPPED: no openssl command'; exit 77; }
command -v nghttpx >/dev/null || python3 -c 'import ssl' 2>/dev/null ||
    { echo 'SKIPPED: neither nghttpx nor python3'; exit 77; }
work=$(mktemp -d)
pids=''
# shellcheck disable=SC2086  # a list of numbers
trap 'kill $pids 2>/dev/null; rm -rf "$work"' EXIT
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout "$work/key.pem" -out "$work/cert.pem" \
    -subj /CN=fault -addext 'subjectAltName=IP:127.0.0.1' 2>/dev/null
"$server" --port 0 --port-file "$work/backend" >/dev/null &
pids=$!
wait_for() {
    n=0
    while [ ! -s "$1" ]; do
        n=$((n + 1))
        [ $n -lt 200 ] || { echo "$1 did not come"; exit 1; }
        sleep 0.05
    done
}
wait_for "$work/backend"
backend=$(cat "$work/backend")
if command -v nghttpx >/dev/null; then
    front=$((backend + 7 < 65535 ? backend + 7 : backend - 7))
    nghttpx --workers=1 -f "127.0.0.1,$front" -b "127.0.0.1,$backend" --no-ocsp \
        "$work/key.pem" "$work/cert.pem" >"$work/log" 2>&1 &
    pids="$pids $!"
    sleep 1
    version=2
else
    cat >"$work/proxy.py" <<'PYTHON'
import socket, ssl, sys, threading
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1] + "/cert.pem", sys.argv[1] + "/key.pem")
listener = socket.create_server(("127.0.0.1", 0))
with open(sys.argv[1] + "/front", "w") as f:
    f.write(str(listener.getsockname()[1]))
def pump(a, b):
    try:
        while data := a.recv(65536):
            b.sendall(data)
    except OSError:
        pass
    finally:
        for s in (a, b):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
def serve(plain):
    try:
        outside = context.wrap_socket(plain, server_side=True)
    except OSError:
        return
    inside = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
    threading.Thread(target=pump, args=(outside, inside), daemon=True).start()
    pump(inside, outside)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
PYTHON
    python3 "$work/proxy.py" "$work" "$backend" &
    pids="$pids $!"
    wait_for "$work/front"
    front=$(cat "$work/front")
    version=1
fi
"$test" "$front" "$work/cert.pem" $version
echo "ok (HTTP/$version)"
