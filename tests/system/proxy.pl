#!/usr/bin/perl
#
# proxy.pl
#	  An HTTP proxy for the tests: CONNECT, and requests with a whole http URL.
#	  Prints its port on 127.0.0.1.  Each connection that ended is a line on
#	  stderr: CONNECT or GET or POST, host:port, bytes up, bytes down.
#
# One request per connection, one child per connection.
use strict;
use warnings;
use IO::Select;
use IO::Socket::INET;

$SIG{CHLD} = 'IGNORE';
my $listener = IO::Socket::INET->new(
	LocalAddr => '127.0.0.1', LocalPort => 0, Proto => 'tcp', Listen => 64, ReuseAddr => 1)
	or die "proxy.pl: could not listen: $!\n";
$| = 1;
print $listener->sockport, "\n";

# The request's head, read to the byte: what follows belongs to the tunnel.
sub read_head
{
	my $client = shift;
	my $head = '';
	while ($head !~ /\r\n\r\n$/ && length $head < 16384) {
		sysread($client, my $byte, 1) or return '';
		$head .= $byte;
	}
	return $head;
}

sub write_all
{
	my ($to, $bytes) = @_;
	while (length $bytes) {
		my $done = syswrite($to, $bytes) or return 0;
		substr($bytes, 0, $done, '');
	}
	return 1;
}

# Copy both ways until both have ended; what went up and down.
sub pump
{
	my ($client, $server) = @_;
	my %count = ($client => 0, $server => 0);
	my %peer = ($client => $server, $server => $client);
	my $select = IO::Select->new($client, $server);

	while ($select->count) {
		for my $from ($select->can_read) {
			my $got = sysread($from, my $bytes, 65536);
			if (!$got) {
				$select->remove($from);
				shutdown($peer{$from}, 1);
				next;
			}
			$count{$from} += $got;
			write_all($peer{$from}, $bytes) or return ($count{$client}, $count{$server});
		}
	}
	return ($count{$client}, $count{$server});
}

sub serve
{
	my $client = shift;
	my $head = read_head($client);
	my ($method, $host, $port) = $head =~ m{^(CONNECT|GET|POST) (?:http://)?([^/:\s]+)(?::(\d+))?\S* HTTP/1\.[01]\r\n} or return;
	$port //= $method eq 'CONNECT' ? 443 : 80;
	my $server = IO::Socket::INET->new(PeerAddr => $host, PeerPort => $port, Proto => 'tcp', Timeout => 10);

	if (!$server) {
		write_all($client, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
		syswrite STDERR, "$method $host:$port 0 0\n";
		return;
	}
	if ($method eq 'CONNECT') {
		write_all($client, "HTTP/1.1 200 Connection established\r\n\r\n");
	} else {
		$head =~ s{\r\n(?:Proxy-)?Connection:[^\r]*}{}gi;
		$head =~ s{\r\n\r\n$}{\r\nConnection: close\r\n\r\n};
		write_all($server, $head);
	}
	my ($up, $down) = pump($client, $server);
	syswrite STDERR, "$method $host:$port $up $down\n";
}

while (1) {
	my $client = $listener->accept or next;
	my $pid = fork() // next;
	if ($pid == 0) {
		$SIG{PIPE} = 'IGNORE';
		close $listener;
		serve($client);
		exit 0;
	}
	close $client;
}
