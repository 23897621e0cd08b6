#!/bin/sh
# runc, on a machine that lacks the capability SYS_RESOURCE (inside some sandboxes and containers).
# CRI-O asks for it where a pod is privileged, and for an OOM score below its own where a pod's resources are guaranteed
# or the container is the pod's own first; runc then starts nothing. containerd has a setting for this, CRI-O has none.
# So both are taken out of what runc is about to read: a container's config.json, or the process of an exec.
set -e
previous='' bundle=. spec=''
for word in "$@"; do
    case $previous in
        --bundle | -b) bundle=$word ;;
        --process | -p) spec=$word ;;
    esac
    case $word in create | run) [ -n "$spec" ] || spec=config ;; esac
    previous=$word
done
[ "$spec" != config ] || spec=$bundle/config.json
if [ -f "$spec" ]; then
    sed -i -e 's/"oomScoreAdj": *-[0-9]*/"oomScoreAdj":0/' \
        -e 's/, *"CAP_SYS_RESOURCE"//g; s/"CAP_SYS_RESOURCE" *, *//g; s/"CAP_SYS_RESOURCE"//g' "$spec"
fi
exec RUNC "$@"
