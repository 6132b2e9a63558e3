#!/bin/sh
# Help, usage errors, exit statuses.
. "$(dirname "$0")/lib.sh"

run 2
out_has 'mirrorer demo'
run 0 --help
out_has 'Commands, in the order data flows'
run 0 --version
run 0 --man
out_has '^.TH MIRRORER'
out_has 'scenes.max_history'
for command in demo run world ingest scenes decide predict distill train eval report status export \
    import model generate tokenizer; do
    run 0 "$command" --help
    out_has "^usage: mirrorer $command"
    out_has '^Options:'
    run 0 --help
    out_has "^  $command "
done
run 2 distil
err_has "did you mean 'distill'"
run 2 scenes --max-histroy 5
err_has "did you mean '--max-history'"
run 2 scenes --max-history
err_has 'needs a value'
run 2 world "$work/w" --users many
err_has "world.users: found 'many'"
run 2 world "$work/w" --accident-share 2
err_has 'from 0 to 1'
run 2 decide
err_has 'role is missing'
run 2 decide --role judge
err_has 'teacher or student'
run 2 train everything
err_has 'base, sft, dpo or direct'
run 2 run --set nonsense=1
err_has "unknown option 'nonsense'"

# Commands without a workspace say what to do.
for command in scenes predict distill eval status; do
    run 1 "$command" -w "$work/none"
    err_has 'none'
done

# The configuration that is printed reads back to itself.
run 0 run --print-config
cp stdout config.yaml
out_has '^scenes:'
run 0 run --print-config --config config.yaml
same stdout config.yaml
run 0 run --print-config --set sft.lr=0.5
out_has '^  lr: 0.5 '
printf 'scenes:\n  trian: 5\n' >bad.yaml
run 3 run --print-config --config bad.yaml
err_has "bad.yaml:2: unknown option 'scenes.trian'; did you mean 'scenes.train'"
echo ok
