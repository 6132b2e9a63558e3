#!/bin/sh
# Reading logs: recognition, counts, refusals.
. "$(dirname "$0")/lib.sh"

mkdir empty
run 3 ingest "$work/empty" -w ws0
err_has 'ratings.dat'
run 3 ingest "$work/absent" -w ws0
err_has 'absent'

# The same world through two adapters.
run 0 world "$work/ml" --format ml-1m --users 50 --items 60 --interactions 800
for file in ratings.dat users.dat movies.dat; do
    [ -s "ml/$file" ] || die "$file is missing"
done
head -n 1 ml/ratings.dat | grep -Eq '^[0-9]+::[0-9]+::[1-5]::[0-9]+$' || die 'ratings.dat has another form'
run 0 ingest "$work/ml" -w ws1 --json
out_has '"adapter":"ml-1m"'
run 0 ingest "$work/ml" -w ws1
err_has 'already done'
run 0 scenes -w ws1 --json --train 20 --eval 10 --base 0
out_has '"stage":"scenes","items":30'
run 0 status -w ws1 --json
out_has '"scenes_train":20'

# A changed option is refused by name; --redo makes anew.
run 1 scenes -w ws1 --train 21 --eval 10 --base 0
err_has "scenes.train changed from '20' to '21'"
run 0 scenes -w ws1 --train 21 --eval 10 --base 0 --redo
run 0 status -w ws1 --json
out_has '"scenes_train":21'

# Rejected rows are counted; too many end the run and leave nothing behind.
cp -r ml bad
printf '1::999999::5::978300760\nrubbish\n1::2::nine::978300760\n' >>bad/ratings.dat
run 0 ingest "$work/bad" -w ws2 --json
out_has '"rejected":'
run 3 ingest "$work/bad" -w ws3 --max-bad 1
err_has 'ratings.dat'
run 0 status -w ws3 --json
out_has '"interactions":0'

# A workspace has one writer, belongs to this program, and is not newer than it.
printf 'not a database at all, but long enough to be looked at\n' >ws0/workspace.db 2>/dev/null ||
    { mkdir -p ws0; printf 'not a database at all, but long enough to be looked at\n' >ws0/workspace.db; }
run 3 status -w ws0
err_has 'workspace.db'

# A zip of the same files reads the same.
if command -v zip >/dev/null 2>&1; then
    (cd ml && zip -q ../ml.zip ratings.dat users.dat movies.dat)
    run 0 ingest "$work/ml.zip" -w ws4 --json
    out_has '"adapter":"ml-1m"'
    run 0 export log "$work/log1" -w ws1
    run 0 export log "$work/log4" -w ws4
    diff -r log1 log4 >/dev/null || die 'folder and zip give different logs'
fi
echo ok
