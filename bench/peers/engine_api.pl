#!/usr/bin/perl
#
# engine_api.pl
#	  Containers by the Engine API itself, over its unix socket: the least that
#	  anything can take that starts a container there.
#
#	  engine_api.pl run IMAGE COUNT CONCURRENCY CPUS MEMORY
#		  create, start, wait and remove that many containers of "true"; for
#		  each a line with the milliseconds of the four, and their sum
#	  engine_api.pl gone LABEL
#		  until no container has that label
#
# Each worker keeps its connection.  The container is limited, logged and
# confined as the agent's are; it has neither mounts nor another first process.
use strict;
use warnings;
use IO::Socket::UNIX;
use JSON::PP;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC sleep);

my $socket;

# One call; the decoded answer.
sub call
{
	my ($method, $path, $body) = @_;
	my $text = defined $body ? encode_json($body) : '';

	$socket //= IO::Socket::UNIX->new(Peer => $ENV{UNIDESK_DOCKER_SOCKET} // '/var/run/docker.sock') or die "no engine: $!\n";
	print $socket "$method /v1.41$path HTTP/1.1\r\nHost: docker\r\nContent-Type: application/json\r\nContent-Length: ", length $text, "\r\n\r\n$text";
	$socket->flush;
	my ($status) = (readline($socket) // '') =~ m{^HTTP/1\.1 (\d+)} or die "the engine closed the connection\n";
	my %header;
	while (defined(my $line = readline($socket)))
	{
		$line =~ s/\r\n\z//;
		last if $line eq '';
		$header{lc $1} = $2 if $line =~ /^([^:]+):\s*(.*)/;
	}
	my $answer = '';
	if (($header{'transfer-encoding'} // '') eq 'chunked')
	{
		while (my $size = hex((readline($socket) // "0") =~ s{\s+\z}{}r))
		{
			read($socket, my $chunk, $size);
			$answer .= $chunk;
			readline($socket);
		}
		readline($socket);
	}
	else
	{
		read($socket, $answer, $header{'content-length'} // 0);
	}
	die "$method $path: $status $answer\n" if $status >= 300;
	return $answer eq '' ? undef : decode_json($answer);
}

sub container
{
	my ($image, $cpus, $memory) = @_;
	my @at = (clock_gettime(CLOCK_MONOTONIC));
	my $id = call('POST', '/containers/create', {
		Image => $image,
		Cmd => ['true'],
		Entrypoint => [],
		HostConfig => {
			NanoCpus => int($cpus * 1e9),
			Memory => $memory + 0,
			MemorySwap => $memory + 0,
			ShmSize => $memory + 0,
			PidsLimit => 4096,
			CapDrop => ['NET_RAW', 'MKNOD', 'AUDIT_WRITE'],
			SecurityOpt => ['no-new-privileges'],
			LogConfig => {Type => 'local', Config => {'max-size' => '1m', 'max-file' => '2', compress => 'false'}},
		},
	})->{Id};
	push @at, clock_gettime(CLOCK_MONOTONIC);
	call('POST', "/containers/$id/start");
	push @at, clock_gettime(CLOCK_MONOTONIC);
	my $end = call('POST', "/containers/$id/wait?condition=not-running");
	die "it ended with $end->{StatusCode}\n" if $end->{StatusCode} != 0;
	push @at, clock_gettime(CLOCK_MONOTONIC);
	call('DELETE', "/containers/$id?force=1&v=1");
	push @at, clock_gettime(CLOCK_MONOTONIC);
	printf "%.1f %.1f %.1f %.1f %.1f\n", map { 1000 * $_ } (map { $at[$_] - $at[$_ - 1] } 1 .. 4), $at[4] - $at[0];
}

$| = 1;
my $what = shift // '';
if ($what eq 'run' && @ARGV == 5)
{
	my ($image, $count, $concurrency, $cpus, $memory) = @ARGV;
	my @workers;
	for my $worker (0 .. $concurrency - 1)
	{
		my $share = int($count / $concurrency) + ($worker < $count % $concurrency);
		my $pid = fork() // die "fork: $!\n";
		if ($pid == 0)
		{
			container($image, $cpus, $memory) for 1 .. $share;
			exit 0;
		}
		push @workers, $pid;
	}
	my $failed = 0;
	for my $pid (@workers)
	{
		waitpid($pid, 0);
		$failed ||= $?;
	}
	exit($failed ? 1 : 0);
}
elsif ($what eq 'gone' && @ARGV == 1)
{
	my $filters = encode_json({label => [$ARGV[0]]});
	$filters =~ s/([^A-Za-z0-9])/sprintf '%%%02X', ord $1/ge;
	sleep 0.005 while @{call('GET', "/containers/json?all=1&filters=$filters")};
}
else
{
	die "usage: engine_api.pl run IMAGE COUNT CONCURRENCY CPUS MEMORY | gone LABEL\n";
}
