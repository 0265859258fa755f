#!/usr/bin/env perl
#
# engine.pl IMAGE NETWORK LABEL COUNT AT_ONCE
#	  Containers that do nothing, by the Docker Engine's API alone: created,
#	  started, waited for, removed.  Prints the milliseconds that each took, one a
#	  line, and last "rate CONTAINERS_PER_SECOND".
#
use strict;
use warnings;
use IO::Socket::UNIX;
use JSON::PP;
use Time::HiRes qw(time);

my ($image, $network, $label, $count, $at_once) = @ARGV;
my $path = ($ENV{DOCKER_HOST} // '') =~ m{^unix://(.+)} ? $1 : '/var/run/docker.sock';
my $api = '/v1.40';

sub connect_engine
{
	return IO::Socket::UNIX->new(Type => SOCK_STREAM, Peer => $path) // die "no engine at $path: $!\n";
}

sub ask
{
	my ($engine, $method, $target, $body) = @_;
	my $content = defined $body ? encode_json($body) : '';

	print $engine "$method $api$target HTTP/1.1\r\nHost: docker\r\nContent-Type: application/json\r\nContent-Length: "
	  . length($content) . "\r\n\r\n$content";
	$engine->flush;
}

# The head of an answer: what its body is bounded by.
sub head
{
	my ($engine) = @_;
	my $status = <$engine> // die "the engine has hung up\n";
	my %head = (status => (split / /, $status)[1]);

	while (defined(my $line = <$engine>))
	{
		$line =~ s/\r?\n$//;
		last if $line eq '';
		$head{ lc $1 } = $2 if $line =~ /^([^:]+):\s*(.*)$/;
	}
	return \%head;
}

sub body
{
	my ($engine, $head) = @_;
	my $text = '';

	if (($head->{'transfer-encoding'} // '') eq 'chunked')
	{
		while (defined(my $size = <$engine>))
		{
			my $length = hex((split /[;\r\n]/, $size)[0]);
			read($engine, my $chunk, $length) if $length;
			$text .= $chunk if $length;
			<$engine>;
			last if !$length;
		}
	}
	elsif ($head->{'content-length'})
	{
		read($engine, $text, $head->{'content-length'});
	}
	die "the engine says $head->{status}: $text\n" if $head->{status} >= 400;
	return $text;
}

sub call
{
	my ($engine, @request) = @_;
	ask($engine, @request);
	return body($engine, head($engine));
}

sub one
{
	my ($engine, $waiting) = @_;
	my $began = time;
	my $id = decode_json(call($engine, 'POST', '/containers/create',
		{ Image => $image, Cmd => ['/bin/true'], Labels => { 'unidesk.bench' => $label }, HostConfig => { NetworkMode => $network } }))->{Id};

	# The head of this answer comes when the wait is on.
	ask($waiting, 'POST', "/containers/$id/wait?condition=next-exit");
	my $head = head($waiting);
	call($engine, 'POST', "/containers/$id/start");
	my $end = decode_json(body($waiting, $head));
	die "a container ended with $end->{StatusCode}\n" if $end->{StatusCode} != 0;
	call($engine, 'DELETE', "/containers/$id");
	return (time - $began) * 1000;
}

die "usage: engine.pl IMAGE NETWORK LABEL COUNT AT_ONCE\n" if @ARGV != 5;
$| = 1;
my $began = time;
my @children;
for my $child (1 .. $at_once)
{
	my $pid = fork // die "fork: $!\n";
	if ($pid == 0)
	{
		my ($engine, $waiting) = (connect_engine(), connect_engine());
		printf "%.2f\n", one($engine, $waiting) for 1 .. $count / $at_once;
		exit 0;
	}
	push @children, $pid;
}
my $failed = 0;
for my $pid (@children)
{
	waitpid $pid, 0;
	$failed = 1 if $?;
}
exit 1 if $failed;
printf "rate %.3f\n", $count / (time - $began);
