#!/usr/bin/perl
#
# hostile_repos.pl DIR
#	  Repositories that git itself would not make, below DIR: bad.git, with a
#	  branch for each bad tree; empty.git; and packs for git_server.pl's /pack/.
#	  Prints "NAME COMMIT" for each.
#
# Objects are written as they are, so that nothing looks at them before the
# program under test does.
use strict;
use warnings;
use Compress::Zlib qw(compress);
use Digest::SHA qw(sha1 sha1_hex);

my $dir = shift or die "usage: hostile_repos.pl DIR\n";
my $repo = "$dir/bad.git";
my %seen;

system('git', 'init', '-q', '--bare', $repo) == 0 or die "hostile_repos.pl: no repository\n";
system('git', 'init', '-q', '--bare', "$dir/empty.git") == 0 or die;
# Also what its refs do not reach may be asked for, except in tests of that.
system('git', '-C', $repo, 'config', 'uploadpack.allowReachableSHA1InWant', 'true') == 0 or die;

# A loose object; its id.
sub object
{
	my ($type, $bytes) = @_;
	my $whole = "$type " . length($bytes) . "\0$bytes";
	my $id = sha1_hex($whole);

	return $id if $seen{$id}++;
	my $folder = "$repo/objects/" . substr($id, 0, 2);
	-d $folder or mkdir $folder or die;
	open(my $file, '>:raw', "$folder/" . substr($id, 2)) or die;
	print $file compress($whole, 1);
	close $file or die;
	return $id;
}

# Entries [mode, name, id], in this order.
sub tree { return object('tree', join '', map { "$_->[0] $_->[1]\0" . pack('H*', $_->[2]) } @_) }

sub commit_of
{
	my $tree = shift;
	return object('commit', "tree $tree\nauthor t <t\@t> 1700000000 +0000\ncommitter t <t\@t> 1700000000 +0000\n\nx\n");
}

sub branch
{
	my ($name, $tree) = @_;
	my $commit = commit_of($tree);
	open(my $file, '>', "$repo/refs/heads/$name") or die;
	print $file "$commit\n";
	close $file or die;
	print "$name $commit\n";
}

my $file = object('blob', "hello\n");
my $plain = ['100644', 'hello', $file];
sub link_to { return object('blob', shift) }

# ---- names ------------------------------------------------------------------

my %names = (
	'dot-git' => '.git', 'dot-git-upper' => '.GIT', 'dot-git-blank' => '.git ', 'dot-git-stream' => '.git::$INDEX_ALLOCATION',
	'short-git' => 'git~1', 'dot' => '.', 'dot-dot' => '..', 'absolute' => '/etc', 'traversal' => '../../x', 'long-name' => 'n' x 300,
	# A message about it would move the cursor, turn the text round, or be cut
	# in the middle of a character.
	'control-name' => ".git:\x1b[2J\n\x07\xc2\x9b31m\xe2\x80\xae\xff", 'wide-name' => '.git:' . "\xf0\x9f\x92\xa3" x 60,
);
branch("name-$_", tree(['100644', $names{$_}, $file], $plain)) for sort keys %names;
branch('name-dot-git-folder', tree(['40000', '.Git', tree($plain)]));
branch('name-twice', tree($plain, $plain));
branch('name-file-and-folder', tree($plain, ['100644', 'x.y', $file], ['40000', 'hello', tree($plain)]));

# ---- symbolic links ---------------------------------------------------------

my %links = (
	absolute => '/etc/passwd', up => '../x', 'up-deep' => 'a/../../x', nul => "a\0b", empty => '', long => 'x/' x 3000,
);
branch("link-$_", tree(['120000', 'l', link_to($links{$_})], $plain)) for sort keys %links;
# Each stays inside by its text; together they leave.
branch('link-chain', tree(['40000', 'd', tree(['120000', 'e', link_to('..')], ['120000', 'f', link_to('e/../x')])], $plain));

# ---- shapes -----------------------------------------------------------------

branch('submodule', tree(['160000', 'sub', '1' x 40], $plain));
branch('lfs', tree(['100644', 'big.bin', object('blob', "version https://git-lfs.github.com/spec/v1\noid sha256:" . '0' x 64 . "\nsize 1\n")]));

branch('file-is-tree', tree(['100644', 'f', tree($plain)]));
my $deep = tree($plain);
$deep = tree(['40000', 'd', $deep]) for 1 .. 300;
branch('deep', $deep);
my $long = tree($plain);
$long = tree(['40000', 'n' x 200, $long]) for 1 .. 25;
branch('long-path', $long);
# 10 levels of 10: 10^10 files in a few hundred bytes.
my $many = tree(map { ['100644', "f$_", $file] } 0 .. 9);
$many = tree(map { ['40000', "d$_", $many] } 0 .. 9) for 1 .. 9;
branch('many', $many);

# ---- unusual, and good ------------------------------------------------------

branch('good', tree(['100644', "A", $file], ['100644', "a", $file], $plain, ['100644', "new\nline\x1b[31m", $file]));
# Compresses to nothing: 100 MB.
branch('large', tree(['100644', 'zeros', object('blob', "\0" x 100_000_000)]));

# ---- what is no commit, or on no branch --------------------------------------

print "a-blob $file\n", 'a-tree ', tree($plain), "\n";
my $hidden = commit_of(tree($plain, ['100644', 'secret', $file]));
print "unreachable $hidden\n";

# ---- packs ------------------------------------------------------------------

# An object's head in a pack: type, and size in groups of bits.
sub pack_head
{
	my ($type, $size) = @_;
	my $byte = $type << 4 | $size & 15;
	my $head = '';
	for ($size >>= 4; $size; $size >>= 7) {
		$head .= chr($byte | 128);
		$byte = $size & 127;
	}
	return $head . chr($byte);
}

sub number { my ($size, $bytes) = (shift, ''); do { my $low = $size & 127; $size >>= 7; $bytes .= chr($low | ($size ? 128 : 0)) } while $size; return $bytes }

sub write_pack
{
	my ($name, $commit, $count, $body) = @_;
	my $pack = "PACK" . pack('NN', 2, $count) . $body;
	write_bytes($name, $commit, $pack . sha1($pack));
}

sub write_bytes
{
	my ($name, $commit, $bytes) = @_;
	open(my $out, '>:raw', "$dir/$name.pack") or die;
	print $out $bytes;
	close $out or die;
	open($out, '>', "$dir/$name.commit") or die;
	print $out "$commit\n";
	close $out or die;
	print "$name $commit\n";
}

my $good_tree = tree($plain);
my $commit = commit_of($good_tree);
my $commit_text = "tree $good_tree\nauthor t <t\@t> 1700000000 +0000\ncommitter t <t\@t> 1700000000 +0000\n\nx\n";
my $tree_text = "100644 hello\0" . pack('H*', $file);
sub whole { my ($type, $bytes) = @_; return pack_head($type, length $bytes) . compress($bytes) }
# Trees that git's own server does not send.
sub write_tree_pack
{
	my ($name, $bytes) = @_;
	my $id = sha1_hex('tree ' . length($bytes) . "\0$bytes");
	my $text = "tree $id\nauthor t <t\@t> 1700000000 +0000\ncommitter t <t\@t> 1700000000 +0000\n\nx\n";
	write_pack($name, sha1_hex('commit ' . length($text) . "\0$text"), 3, whole(1, $text) . whole(2, $bytes) . whole(3, "hello\n"));
}
write_tree_pack('tree-garbage', 'this is no tree');
write_tree_pack('tree-cut', substr($tree_text, 0, -3));
write_tree_pack('tree-blob-as-tree', "40000 d\0" . pack('H*', $file));
write_tree_pack('tree-empty-name', "100644 \0" . pack('H*', $file));

my $in_pack = whole(1, $commit_text) . whole(2, $tree_text) . whole(3, "hello\n");

write_pack('pack-good', $commit, 3, $in_pack);
write_pack('pack-other-commit', '2' x 40, 3, $in_pack);
write_pack('pack-no-blob', $commit, 2, whole(1, $commit_text) . whole(2, $tree_text));
write_pack('pack-other-blob', $commit, 3, whole(1, $commit_text) . whole(2, $tree_text) . whole(3, "HELLO\n"));
write_pack('pack-lying-count', $commit, 0xffffffff, $in_pack);
write_pack('pack-many-objects', $commit, 19_000_000, $in_pack);
write_pack('pack-lying-size', $commit, 3, $in_pack =~ s/^./chr(ord($&) ^ 1)/ser);
write_bytes('pack-empty', $commit, '');
write_bytes('pack-garbage', $commit, 'x' x 100_000);
write_bytes('pack-bad-sum', $commit, 'PACK' . pack('NN', 2, 3) . $in_pack . "\0" x 20);
# 16 MB, and deltas that copy it over and over: to 5 GB each.
my $base = "\0" x 0xffffff;
my $copies = 320;
my $delta = number(length $base) . number($copies * length $base) . (chr(0xf0) . "\xff\xff\xff") x $copies;
write_pack('pack-bomb', $commit, 5, $in_pack . whole(3, $base) . pack_head(7, length $delta) . pack('H*', sha1_hex('blob ' . length($base) . "\0$base")) . compress($delta));
