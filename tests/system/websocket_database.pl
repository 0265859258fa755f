#!/usr/bin/perl
#
# websocket_database.pl
#	  The bridge while the database is away: it says so, keeps its sessions,
#	  and goes on when the database is back; run by websocket.sh.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Time::HiRes qw(time sleep);
use AgentClient;
use Hostile;

# The status of the health endpoint, and how long it took.
sub health
{
	my $began = time;
	my $client = AgentClient->connect or return ('refused', 0);
	$client->send_raw("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
	return ($client->read_status, time - $began);
}

sub becomes
{
	my ($wanted) = @_;
	my ($status, $took);
	for (my $i = 0; $i < 200; $i++) {
		($status, $took) = health();
		return "health took $took s" if $took > 3;
		return undef if $status eq $wanted;
		sleep(0.1);
	}
	return "health says $status";
}

case 'without the database health is 503 at once, and sessions live on', sub {
	my $evil = evil();
	system('tools/private_pg.sh', '--ctl', '-m', 'fast', 'stop') == 0 or return 'the server did not stop';
	my $wrong = becomes(503);
	my ($client, $status) = AgentClient->upgraded(token => evil_token);
	# A message that waits for the database.
	$evil->send_messages(AgentClient::message(AgentClient::BEAT, sequence => 77, body => '{}'));
	system('tools/private_pg.sh', '--ctl', 'start') == 0 or return 'the server did not start';
	Hostile::psql_start();
	my $answer = $evil->wait_for(AgentClient::BEAT_ACK, 30);
	return $wrong // wanted($status, 101, 503) // wanted($answer->{sequence} // $answer->{end}, 77) // becomes(200);
};

# What an agent was told to be stored it may forget, whatever the server is set to.
my $writer = new_node('writer');
my @attempts = defined $writer ? running_attempts($writer, 'writer', 1) : ();
case 'a log that was acknowledged outlives a crash of the server', sub {
	return 'no attempt runs' if !@attempts;
	my ($stored, $wrong) = (0, undef);
	sql('ALTER SYSTEM SET synchronous_commit = off');
	sql('SELECT pg_reload_conf()');
	# The bridge's sessions take the setting at their next call.
	$writer->beat;
	for my $turn (1 .. 3) {
		$writer->send_messages(AgentClient::message(AgentClient::LOG, %{ $attempts[0] }, state => 1, value => $stored, body => chr(96 + $turn) x 1000));
		my $answer = $writer->wait_for(AgentClient::LOG_ACK, 30);
		return wanted($answer->{value} // $answer->{end}, $stored + 1000) if ($answer->{value} // 0) != $stored + 1000;
		system('tools/private_pg.sh', '--ctl', '-m', 'immediate', 'stop') == 0 or return 'the server did not stop';
		system('tools/private_pg.sh', '--ctl', 'start') == 0 or return 'the server did not start';
		Hostile::psql_start();
		$stored += 1000;
		$wrong //= wanted(sql("SELECT sum(length) FROM unidesk_data.log_piece WHERE task_id = $attempts[0]{task}"), $stored);
	}
	sql('ALTER SYSTEM RESET synchronous_commit');
	sql('SELECT pg_reload_conf()');
	return $wrong // becomes(200);
}, changes => 1;
