#!/bin/sh
# Submit a job script: here it starts in the background of this machine and its number is printed.
setsid nohup sh "$1" >/dev/null 2>&1 &
echo $!
