#!/bin/sh
# Reading logs: recognition, counts, refusals.
. "$(dirname "$0")/lib.sh"

mkdir empty
run 3 ingest "$work/empty" -w ws0
err_has 'expected the files of one of: canonical, ml-1m'
run 3 ingest "$work/absent" -w ws0
err_has 'absent'

# A wrong folder: what it lacks is said, and only of data sets that a file is called like.
mkdir wrong
echo a,b,c >wrong/a.csv
run 3 ingest "$work/wrong" --check
err_has 'found a.csv; describe its columns with --mapping'
echo a,b,c >wrong/ratings.csv
run 3 ingest "$work/wrong" --check
err_has 'found a.csv, ratings.csv; ml-latest needs ratings.csv, movies.csv; describe'
mv wrong/ratings.csv wrong/meta_Books.json
run 3 ingest "$work/wrong" --check
err_has 'amazon-2018 needs <CATEGORY>.json or <CATEGORY>_5.json, meta_<CATEGORY>.json; amazon-2014'

# Files of one name in several folders, as MIND comes.
for part in train dev; do
    mkdir -p "mind/$part"
    printf 'N1\ts\tg\tOne\t\t\t[]\t[]\nN2\ts\tg\tTwo\t\t\t[]\t[]\n' >"mind/$part/news.tsv"
    printf '1\tU1\t11/11/2019 1:00:00 PM\tN1 N1 N2 N1 N2\tN1-0 N2-1\n' >"mind/$part/behaviors.tsv"
done
printf '2\tU2\t11/12/2019 1:00:00 PM\tN1\tN1-0 N2-1\n' >>mind/dev/behaviors.tsv
run 0 ingest "$work/mind" -w wsmind --json
out_has '"rejected":2,"filtered":1'
run 0 ingest "$work/mind" --check
out_has '^dev/behaviors.tsv  *2  *0  *2'

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

# --check reads as ingest does and writes nothing.
run 0 ingest "$work/bad" --check -w ws9
out_has 'ratings.dat  *803  *80[01]  *[23]'
out_has '1 row rejected: short row: N fields, need N'
out_has "    ratings.dat:80[0-9]: film '999999' is not in the list of films"
out_has 'Ingest would store, as ml-1m: 50 users, 60 items, 800 interactions; 20'
[ ! -e ws9 ] || die '--check made a workspace'
run 0 ingest "$work/bad" --check --json
out_has '"name":"ratings.dat","read":803,"kept":800,"rejected":3,'
out_has '"reason":"film .\.\.\.. is not in the list of films","filter":false,"rows":1,"examples":\[{"file":"ratings.dat","line":801,'
out_has '"users":50,"items":60,"interactions":800,"skips":0,"impressions":false,"first_time":"2'
run 3 ingest "$work/bad" --check --max-bad 2
err_has 'ratings.dat:803'
out_has 'ratings.dat  *803  *80[01]  *[23]'
out_has 'Reading ended there'
run 3 ingest "$work/bad" --check --max-bad 2 --json
out_has '"name":"ratings.dat","read":803,"kept":800,"rejected":3,.*"error":"ratings.dat:803: '
run 3 ingest "$work/empty" --check
err_has 'expected the files of one of: canonical, ml-1m'
run 2 ingest --check
err_has 'too few arguments'
run 2 ingest "$work/bad" --check --redo
err_has 'not both'

# Filters: counted by reason, told apart from bad rows, and part of what the stage was run with.
run 0 ingest "$work/bad" --check --newest-share 0.5 --min-user-interactions 3 --max-bad 3
out_has '400 rows filtered: older than the newest share that is kept'
run 0 ingest "$work/bad" -w ws5 --newest-share 0.5 --json
out_has '"rejected":403,"filtered":400,'
out_has '{"reason":"older than the newest share that is kept","rows":400,"filter":true}'
run 1 ingest "$work/bad" -w ws5 --newest-share 0.4
err_has "ingest.newest_share changed from '0.5' to '0.4'"
run 3 ingest "$work/ml" --check --min-user-interactions 1000
err_has 'no interaction is left'
run 3 ingest "$work/ml" --check --min-rating-count 10
err_has 'ingest.min_rating_count is 10, but logs of adapter ml-1m have no counts of ratings'
run 3 ingest "$work/ml" --check --max-list 10
err_has 'ingest.max_list is 10'
run 0 ingest "$work/ml" --check --max-list 0
run 2 ingest "$work/ml" --newest-share 2
err_has 'from -1 to 1'

run 0 ingest --adapters
out_has '^ml-1m  *ratings.dat, users.dat, movies.dat'
run 0 ingest --adapters --json
out_has '{"name":"ml-1m","files":"ratings.dat, users.dat, movies.dat","filters":{'
run 2 ingest "$work/ml" --adapters
err_has 'takes no log'

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
