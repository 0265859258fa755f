#!/usr/bin/perl
#
# websocket_messages.pl
#	  Frames and messages that docs/protocol.md does not allow, or that lie; run
#	  by websocket.sh.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use AgentClient;
use Hostile;

use constant {
	HELLO => 1, INVENTORY => 2, BEAT => 3, REPORT => 4, LOG => 5, AGENT_ERROR => 8,
	WELCOME => 129, DESIRED => 131, BEAT_ACK => 132, REPORT_ACK => 133, LOG_ACK => 134, ERROR => 140,
	ACCEPTED => 2, PREPARING => 3, RUNNING => 4, SUCCEEDED => 7, FAILED => 8, LOST => 12,
	REMOVE => 1, STALE => 2, UNIDESK_MAX => 2**63 - 1,
};

sub message { return AgentClient::message(@_); }

# ---- a task that runs on another node, and one that has ended there ---------

my $incarnation = sql('SELECT value FROM unidesk_data.incarnation');
my $victim = AgentClient->open_session(token => $ENV{TOKEN_VICTIM}, machine => 'victim') // die "the victim got no session\n";

# The desired message of a task, to its agent or to nobody.
sub submitted
{
	my $task = sql(q{SELECT unidesk.submit_task('demo', 'https://git.example/code.git', repeat('a', 40),
		'https://git.example/env.git', repeat('b', 40), 'Dockerfile', ARRAY['true'], labels => '{"node": "victim"}')});
	while (1) {
		my $order = $victim->wait_for(DESIRED);
		die "task $task did not reach the victim: $order->{end}\n" if exists $order->{end};
		return $task if $order->{task} == $task;
	}
}

sub victim_reports
{
	my ($task, $state, $body) = @_;
	$victim->send_messages(message(REPORT, incarnation => $incarnation, task => $task, attempt => 1,
		state => $state, sequence => 1, body => $body // ''));
	my $ack = $victim->wait_for(REPORT_ACK);
	die "the victim's report of state $state was answered with " . ($ack->{end} // $ack->{state}) . "\n"
		if exists $ack->{end} || $ack->{state} != $state;
}

sql(q{SELECT unidesk.create_project('demo')});
sql(q{UPDATE unidesk_data.node SET declared_labels = '{"node": "victim"}' WHERE name = 'victim'});
$victim->hang_up;
$victim = AgentClient->open_session(token => $ENV{TOKEN_VICTIM}, machine => 'victim');
my $image = 'sha256:' . '0' x 64;
my $ended = submitted();
victim_reports($ended, SUCCEEDED, qq({"exit_code":0,"log_end":0,"image_id":"$image"}));
my $task = submitted();
victim_reports($task, RUNNING, qq({"image_id":"$image"}));
$victim->send_messages(message(LOG, incarnation => $incarnation, task => $task, attempt => 1, state => 1, value => 0, body => 'hello'));
die "the victim's log was not taken\n" if ($victim->wait_for(LOG_ACK)->{value} // -1) != 5;

my %live = (incarnation => $incarnation, task => $task, attempt => 1);

# ---- helpers ---------------------------------------------------------------

# How a session ends that sends this payload of a WebSocket frame.
sub ends_after
{
	my ($payload, %option) = @_;
	my $evil = evil();
	$evil->send_frame(ref $payload ? $payload->($evil) : $payload);
	return $evil->closing;
}

# What a fresh connection that sends this as its hello gets.
sub hello_gets
{
	my ($body, %field) = @_;
	my ($client, $status) = AgentClient->upgraded(token => evil_token);
	return $status if $status ne '101';
	$client->send_messages(message(HELLO, body => $body, %field));
	my $answer = $client->wait_for(WELCOME);
	return $answer->{end} // 'welcome';
}

# The answers to messages in one frame, each as TYPE or TYPE:FLAGS, up to the
# acknowledgement of the beat behind them; in one line.
sub answers_to
{
	my (@messages) = @_;
	my $evil = evil();
	my @answers;
	$evil->send_messages(@messages, message(BEAT, sequence => 4711, body => '{}'));
	while (1) {
		my $m = $evil->next_message(time + AgentClient::PATIENCE);
		return join(' ', @answers, "end:$m->{end}") if exists $m->{end};
		# The beat has its own way into the database: its answer may come first.
		last if @answers == @messages;
		next if $m->{type} == 130 || $m->{type} == BEAT_ACK;
		push @answers, $m->{type} . ($m->{flags} ? ":$m->{flags}" : '');
		last if @answers == @messages;
	}
	return join(' ', @answers);
}

sub report_gets { my ($body, %field) = @_; return answers_to(message(REPORT, %live, state => RUNNING, sequence => 1, body => $body, %field)); }

# ---- the order of a session ------------------------------------------------

case 'a message before hello is 4009', sub {
	my ($client, $status) = AgentClient->upgraded(token => evil_token);
	$client->send_messages(message(BEAT, sequence => 1));
	return wanted($client->closing, 4009);
};
case 'a hello that is not alone is 4009', sub {
	my ($client, $status) = AgentClient->upgraded(token => evil_token);
	$client->send_messages(message(HELLO, body => AgentClient::hello_body(machine => 'evil')), message(BEAT, sequence => 1));
	return wanted($client->closing, 4009);
};
case 'a message between hello and welcome is 4009', sub {
	my ($client, $status) = AgentClient->upgraded(token => evil_token);
	$client->send_raw(AgentClient::ws_frame(2, $client->protocol_frame([message(HELLO, body => AgentClient::hello_body(machine => 'evil'))]))
		. AgentClient::ws_frame(2, $client->protocol_frame([message(BEAT, sequence => 1)])));
	return wanted($client->closing, 4009);
};
case 'a second hello is 4009', sub {
	wanted(ends_after(sub { $_[0]->protocol_frame([message(HELLO, body => AgentClient::hello_body(machine => 'evil'))]) }), 4009)
		// wanted(ends_after(sub { $_[0]->protocol_frame([message(HELLO, body => AgentClient::hello_body(machine => 'evil'))], session => 0) }), 4009);
};
case 'a hello with a session number is 4009', sub {
	my ($client, $status) = AgentClient->upgraded(token => evil_token);
	$client->send_frame($client->protocol_frame([message(HELLO, body => AgentClient::hello_body(machine => 'evil'))], session => 1));
	return wanted($client->closing, 4009);
};
case 'another session\'s number is 4009', sub {
	for my $session (0, $good->{session}, $victim->{session}, 2**63, ~0) {
		my $wrong = wanted(ends_after(sub { $_[0]->protocol_frame([message(BEAT, sequence => 1)], session => $session) }), 4009);
		return "session $session: $wrong" if defined $wrong;
	}
	return undef;
};
case 'the newer connection of one machine supersedes the older', sub {
	my $older = evil();
	my $newer = evil();
	return wanted($older->closing, 4001) // ($newer->beat =~ /^[0-9.]+$/ ? undef : 'the newer is not served');
};
case 'another machine with the same token is 4409', sub {
	my $first = evil();
	$first->beat;
	my ($client, $status) = AgentClient->upgraded(token => evil_token);
	$client->send_messages(message(HELLO, body => AgentClient::hello_body(machine => 'another')));
	return wanted($client->closing, 4409) // ($first->beat =~ /^[0-9.]+$/ ? undef : 'the first is not served');
};

# ---- header and envelopes --------------------------------------------------

my %malformed = (
	'half a frame of another version' => sub { substr($_[0]->protocol_frame([message(BEAT)], version => 2), 0, 50) },
	'a frame of another version that has another length' => sub { $_[0]->protocol_frame([message(BEAT)], version => 2, bytes => 57) },
	'no messages' => sub { $_[0]->protocol_frame([]) },
	'no messages but bytes' => sub { $_[0]->protocol_frame([message(BEAT)], count => 0) },
	'fewer messages than counted' => sub { $_[0]->protocol_frame([message(BEAT)], count => 2) },
	'more messages than counted' => sub { $_[0]->protocol_frame([message(BEAT), message(BEAT)], count => 1) },
	'1025 messages' => sub { $_[0]->protocol_frame([(message(BEAT)) x 1025]) },
	'65535 counted' => sub { $_[0]->protocol_frame([message(BEAT)], count => 65535) },
	'a length one too small' => sub { $_[0]->protocol_frame([message(BEAT)], bytes => 55) },
	'a length one too big' => sub { $_[0]->protocol_frame([message(BEAT)], bytes => 57) },
	'a length of 2^32 - 1' => sub { $_[0]->protocol_frame([message(BEAT)], bytes => 2**32 - 1) },
	'half a header' => sub { substr($_[0]->protocol_frame([message(BEAT)]), 0, 8) },
	'a header alone' => sub { substr($_[0]->protocol_frame([message(BEAT)], bytes => 16), 0, 16) },
	'a truncated envelope' => sub { substr($_[0]->protocol_frame([message(BEAT)], bytes => 50), 0, 50) },
	'a body longer than the frame' => sub { $_[0]->protocol_frame([message(BEAT, body => 'x', bytes => 2)]) },
	'a body shorter than the frame' => sub { $_[0]->protocol_frame([message(BEAT, body => 'xx', bytes => 1)]) },
	'a body of 2^32 - 1 bytes' => sub { $_[0]->protocol_frame([message(BEAT, body => 'x', bytes => 2**32 - 1)]) },
	'a body that eats the next message' => sub { $_[0]->protocol_frame([message(BEAT, bytes => 40), message(BEAT)]) },
	'a body beyond 256 KiB' => sub { $_[0]->protocol_frame([message(BEAT, body => 'x' x (256 * 1024 + 1))]) },
	'a log body beyond 64 KiB' => sub { $_[0]->protocol_frame([message(LOG, %live, state => 1, body => 'x' x (64 * 1024 + 1))]) },
	'a message of the server' => sub { $_[0]->protocol_frame([message(BEAT_ACK)]) },
	'a frame of noise' => sub { CANARY x 20 },
);
for my $name (sort keys %malformed) {
	case "$name is 4009", sub { wanted(ends_after($malformed{$name}), 4009) };
}
case 'an unknown type is an error and no more', sub {
	for my $type (0, 9, 127, 6, 7) {
		my $wrong = wanted(answers_to(message($type, body => CANARY)), ERROR);
		return "type $type: $wrong" if defined $wrong;
	}
	return undef;
};
case 'unknown flags are ignored', sub {
	my $evil = evil();
	$evil->send_frame($evil->protocol_frame([message(BEAT, sequence => 9, flags => 255, state => 255)], flags => 255));
	return wanted($evil->wait_for(BEAT_ACK)->{sequence}, 9);
};

# ---- attempts that are not this node's -------------------------------------

case 'a report about another node\'s attempt is stale', sub { wanted(report_gets(''), '133:2') };
case 'its end cannot be reported either', sub {
	wanted(report_gets('{"exit_code":0,"log_end":0}', state => SUCCEEDED), '133:2')
		// wanted(report_gets('{"reason":"node.container_gone"}', state => LOST), '133:2');
};
case 'an ended attempt cannot be reported by another node', sub {
	wanted(report_gets('{"reason":"run.exit_code","exit_code":1,"log_end":0}', task => $ended, state => FAILED), '133:2');
};
case 'attempts that never were are stale', sub {
	for my $field ([ attempt => 2 ], [ attempt => 0 ], [ attempt => -1 ], [ attempt => 2**31 - 1 ], [ attempt => -2**31 ],
		[ task => 0 ], [ task => -1 ], [ task => $task + 1000 ], [ task => UNIDESK_MAX ], [ task => -2**63 ],
		[ incarnation => 0 ], [ incarnation => -1 ], [ incarnation => $incarnation ^ 1 ])
	{
		my $wrong = wanted(report_gets('{"exit_code":0,"log_end":0}', state => SUCCEEDED, @$field), '133:2');
		return "@$field: $wrong" if defined $wrong;
	}
	return undef;
};
case 'the log of another node\'s attempt is stale', sub {
	for my $field ([], [ value => 5 ], [ value => -1 ], [ task => $ended ], [ attempt => 2 ], [ task => -5 ], [ incarnation => 0 ]) {
		my $wrong = wanted(answers_to(message(LOG, %live, state => 1, value => 0, body => CANARY, @$field)), '134:2');
		return "@$field: $wrong" if defined $wrong;
	}
	return undef;
};
case 'an inventory of what it does not have changes nothing', sub {
	my $hex = sprintf('%016x', $incarnation);
	my $attempts = qq([{"incarnation":"$hex","task":$task,"attempt":1,"state":"running"},{"incarnation":"$hex","task":$ended,"attempt":1,"state":"running"}]);
	my $evil = evil(attempts => $attempts);
	my $told = $evil->wait_for(DESIRED);
	return wanted($told->{state}, 3) // wanted($evil->wait_for(DESIRED)->{state}, 3);
};

# ---- the attempt's own node lies -------------------------------------------

# The same, of the node that the attempt runs on.
sub victim_gets
{
	my ($type, %field) = @_;
	$victim->send_messages(message($type, %live, sequence => 1, %field));
	while (1) {
		my $m = $victim->next_message(time + AgentClient::PATIENCE);
		return "end:$m->{end}" if exists $m->{end};
		next if $m->{type} != ERROR && $m->{type} != REPORT_ACK && $m->{type} != LOG_ACK;
		return $m->{type} . ($m->{type} == LOG_ACK ? ":$m->{value}" : $m->{flags} ? ":$m->{flags}" : '');
	}
}

case 'states that no agent may report are errors', sub {
	for my $state (0, 1, 14, 100, 255) {
		my $wrong = wanted(victim_gets(REPORT, state => $state), ERROR);
		return "state $state: $wrong" if defined $wrong;
	}
	return undef;
};
case 'a step back is acknowledged and not made', sub { wanted(victim_gets(REPORT, state => ACCEPTED), REPORT_ACK) };

my @bodies = (
	'x', '[]', '[{}]', '[[]]', '[{"oom":{}}]', 'null', '1', '"x"', '{', '}', '{}x', '{"exit_code":', "{'exit_code':0}", '{"exit_code":NaN}', '{"exit_code":Infinity}',
	'{"exit_code":2147483648}', '{"exit_code":-2}', '{"exit_code":256}', '{"exit_code":1e3}', '{"exit_code":0.5}', '{"exit_code":"0"}',
	'{"exit_code":[0]}', '{"exit_code":{"a":0}}', '{"exit_code":true}', '{"exit_code":99999999999999999999999}', '{"exit_code":1e999999}',
	'{"log_end":-1}', '{"log_end":9223372036854775807}', '{"log_end":"5"}', '{"oom":1}', '{"oom":"true"}', '{"reason":"no.such"}', '{"reason":1}', '{"reason":["run.signal"]}',
	'{"image_id":"sha256:x"}', '{"image_id":{}}', '{"stage_ms":{"run":-1}}', '{"stage_ms":{"run":1e99}}', '{"stage_ms":[1]}', '{"stage_ms":5}', '{"message":{}}', '{"phase":"x"}',
	'{"message":"\u0000"}', '{"message":"\ud800"}', "{\"message\":\"\x01\"}", "{\"message\":\"\xff\xfe\"}", "{\"message\":\"\xc0\x80\"}", "{}\0", "\0", "\xef\xbb\xbf{}",
	'{"a":' x 65 . '1' . '}' x 65, '[' x 30_000, '{"a":' x 6000, '{"message":"' . 'x' x 40_000 . '"}', ' ' x 40_000,
);
case 'bodies of a report that cannot be right are errors', sub {
	for my $body (@bodies) {
		my $wrong = wanted(victim_gets(REPORT, state => RUNNING, body => $body), ERROR);
		return substr($body, 0, 40) . ": $wrong" if defined $wrong;
	}
	return undef;
};
case 'of duplicate keys one counts, and unknown fields do not', sub {
	wanted(victim_gets(REPORT, state => RUNNING, body => '{"log_end":1,"log_end":2,"x":{"y":[1,2,{"z":null}]},"message":null}'), REPORT_ACK);
};
case 'offsets of a log that cannot be right store nothing', sub {
	for my $offset (6, 100, UNIDESK_MAX, UNIDESK_MAX - 3, -1, -2**63) {
		my $got = victim_gets(LOG, state => 1, value => $offset, body => CANARY);
		return "offset $offset: got $got" if $got !~ /^134:/;
	}
	return wanted(victim_gets(LOG, state => 1, value => 0, body => 'hello'), '134:5')
		// wanted(victim_gets(LOG, state => 1, value => 3, body => 'lo'), '134:5');
};
case 'streams of a log that are none are errors', sub {
	for my $stream (0, 4, 255) {
		my $wrong = wanted(victim_gets(LOG, state => $stream, value => 5, body => CANARY), ERROR);
		return "stream $stream: $wrong" if defined $wrong;
		# What was right before it is acknowledged all the same.
		$victim->wait_for(LOG_ACK);
	}
	return undef;
};
case 'an overlap is stored once', sub {
	my $got = victim_gets(LOG, state => 1, value => 3, body => 'lo there');
	my $stored = sql("SELECT string_agg(convert_from(bytes, 'UTF8'), '' ORDER BY \"offset\") FROM unidesk_data.log_chunk WHERE task_id = $task");
	sql("DELETE FROM unidesk_data.log_chunk WHERE task_id = $task AND \"offset\" >= 5");
	return wanted($got, '134:11') // wanted($stored, 'hello there');
};
case 'beats may say anything', sub {
	my $evil = evil();
	for my $body ('', '{}', 'x', '[]', "\0", "\xff", '{"gpus":["GPU-1","GPU-2"],"load":NaN}', '{"memory_free":-1,"disk_free":-99999999999999999999}',
		'{"labels":{' . join(',', map { qq("k$_":"v") } 1 .. 10_000) . '}}', '[' x 200_000)
	{
		$evil->send_messages(message(BEAT, sequence => 5, body => $body));
		my $answer = $evil->wait_for(BEAT_ACK);
		return substr($body, 0, 40) . " ended with $answer->{end}" if exists $answer->{end};
	}
	return undef;
};
case 'an agent\'s complaints are not copied into logs', sub {
	my $evil = evil();
	$evil->send_messages(message(AGENT_ERROR, body => qq({"reason":"x","message":"\x1b[31m) . CANARY . '"}'));
	return $evil->beat =~ /^[0-9.]+$/ ? undef : 'the session ended';
};

# ---- hello and inventory ---------------------------------------------------

my $fine = AgentClient::hello_body(machine => 'evil');
sub with { my ($from, $to) = @_; return $fine =~ s/\Q$from\E/$to/r; }

my $deep = '[' x 33 . ']' x 33;
my @hellos = (
	'', 'x', '[]', '[{}]', '[[]]', '[{"oom":{}}]', 'null', '""', '{}', '[{}]', "\0", "$fine\0", "$fine}", substr($fine, 0, -1), "\xff$fine",
	with('"proto_min":1', '"proto_min":"x"'), with('"proto_min":1', '"proto_min":1.5'), with('"proto_min":1', '"proto_min":9999999999'),
	with('"proto_min":1', '"proto_min":{}'), with('"proto_min":1', '"proto_min":1e131071'),
	with('"boot_id":"evil"', '"boot_id":null'), with('"boot_id":"evil"', '"boot_id":"\u0000"'), with('"boot_id":"evil"', '"boot_id":"\ud800"'),
	with('"boot_id":"evil"', "\"boot_id\":\"\xff\x1b[31m\""), with(',"attempts":[]', ''), with('"attempts":[]', '"attempts":{}'), with('"attempts":[]', '"attempts":5'),
	with('"attempts":[]', '"attempts":[5]'), with('"attempts":[]', '"attempts":[{"incarnation":"0000000000000000","task":"x\u001b","attempt":1}]'),
	with('"attempts":[]', '"attempts":[{"incarnation":"0000000000000000","task":1e30,"attempt":1}]'),
	with('"attempts":[]', '"attempts":[{"incarnation":"0000000000000000","task":1,"attempt":9999999999}]'),
	with('"attempts":[]', '"attempts":[[]]'),
	with('"cpus_milli":4000', '"cpus_milli":"' . CANARY . '\u001b[31m"'), with('"cpus_milli":4000', '"cpus_milli":1e40'), with('"cpus_milli":4000', '"cpus_milli":NaN'),
	with('"memory":8589934592', '"memory":99999999999999999999'), with('"gpus":[]', '"gpus":[1]'),
	with('"gpus":[]', '"gpus":[' . join(',', map { qq({"uuid":"GPU-$_"}) } 1 .. 64) . ']'),
	with('"gpus":[]', '"gpus":[{"uuid":"x","memory":"much"}]'), with('"gpus":[]', '"gpus":[{"uuid":"x","memory":1e30}]'),
	with('"labels":{}', '"labels":{' . join(',', map { qq("k$_":"v") } 1 .. 65) . '}'),
	with('"labels":{}', '"labels":{"k":{}}'), with('"labels":{}', '"labels":{"a b":"c"}'), with('"labels":{}', '"labels":{"a":"' . 'x' x 200 . '"}'),
	'[' x 200_000, '{"a":' x 40_000, with('"labels":{}', '"x":"' . 'y' x (256 * 1024 - 400) . '","labels":{"k":{}}'),
);
# What people see of this case's node, and how often they were told.
sub refused
{
	return sql("SELECT concat_ws('|', n.refused, (SELECT count(*) FROM unidesk.node_events e WHERE e.node = n.name AND e.what = 'refused'))
		FROM unidesk_data.node n WHERE n.token_hash = sha256(convert_to('" . evil_token . "', 'UTF8'))");
}
sub speaks { return "its agent ($_[0]) speaks versions $_[1] to $_[2] of the protocol, this server 1: update the older one|1"; }
case 'a hello of another version is 4004, and people see it', sub {
	wanted(hello_gets(with('"proto_min":1', '"agent_version":"9.0\u001b","proto_min":2') =~ s/"proto_max":1/"proto_max":3/r), 4004)
		// wanted(refused(), speaks('9.0?', 2, 3))
		// wanted(hello_gets('{"proto_min":0,"proto_max":0}'), 4004)
		// wanted(refused(), speaks('of unknown version', 0, 0))
		// wanted(hello_gets($fine), 'welcome') // wanted(refused(), '1');
};
case 'a first frame of another version is 4004, and people see it', sub {
	for my $payload ([message(HELLO, body => CANARY)], [message(77), message(BEAT)], []) {
		my ($client, $status) = AgentClient->upgraded(token => evil_token);
		$client->send_frame($client->protocol_frame($payload, version => 7, session => 5));
		my $wrong = wanted($client->closing, 4004) // wanted(refused(), speaks('of unknown version', 7, 7));
		return $wrong if defined $wrong;
	}
	return wanted(hello_gets($fine), 'welcome') // wanted(refused(), '1');
};
case 'a later frame of another version is 4004', sub {
	for my $version (0, 2, 255) {
		my $wrong = wanted(ends_after(sub { $_[0]->protocol_frame([message(BEAT)], version => $version) }), 4004);
		return $wrong if defined $wrong;
	}
	return undef;
};
while (my @some = splice(@hellos, 0, 20)) {
	case "a hello that cannot be understood is 4009, and the open session stays (${\ scalar @hellos} to go)", sub {
		my $open = evil();
		for my $body (@some) {
			my $wrong = wanted(hello_gets($body), 4009);
			return substr($body, 0, 60) . ' ' . substr($body, -60) . ": $wrong" if defined $wrong;
		}
		my $took = $open->beat;
		return $took =~ /^[0-9.]+$/ ? undef : "the session ended with $took";
	};
}
case 'an inventory that cannot be understood is 4009', sub {
	for my $body ('', 'x', '[]', '{}', '{"attempts":5}', '{"attempts":[5]}', "{\"attempts\":[]}\0", '{"attempts":[{"incarnation":"0000000000000000","task":"x","attempt":1}]}',
		'{"attempts":[{"incarnation":"0000000000000000","task":1e30,"attempt":1}]}', '[' x 200_000)
	{
		my $wrong = wanted(ends_after(sub { $_[0]->protocol_frame([message(INVENTORY, sequence => 1, body => $body)]) }), 4009);
		return substr($body, 0, 60) . ": $wrong" if defined $wrong;
	}
	return undef;
};
case 'resources below zero count as none', sub {
	my $got = hello_gets(with('"cpus_milli":4000', '"cpus_milli":-5'));
	my $granted = sql("SELECT cpus_milli FROM unidesk_data.node_use u JOIN unidesk_data.node n ON n.id = u.node_id WHERE n.token_hash = sha256(convert_to('" . evil_token . "', 'UTF8'))");
	evil()->hang_up;
	return wanted($got, 'welcome') // wanted($granted, 0);
};

# ---- one bad message among good ones ---------------------------------------

case 'a poisoned message among good ones fails alone', sub {
	my (@messages, @right);
	for my $i (1 .. 100) {
		my $bad = $i % 10 == 3;
		push @messages, message(REPORT, %live, attempt => 1000 + $i, state => RUNNING, sequence => 1, body => $bad ? $bodies[$i % @bodies] : '');
		push @right, $bad ? ERROR : '133:2';
	}
	return wanted(answers_to(@messages), "@right");
};
case 'a poisoned hello does not delay others in its batch', sub {
	# Many at once, so that they share calls with the good client's beats.
	my @clients = map { (AgentClient->upgraded(token => evil_token))[0] } 1 .. 5;
	$_->send_messages(message(HELLO, body => 'x')) for @clients;
	my $took = $good->beat;
	for my $client (@clients) {
		my $wrong = wanted($client->closing, 4009);
		return $wrong if defined $wrong;
	}
	return $took =~ /^[0-9.]+$/ && $took < 5 ? undef : "the good client waited $took";
};
