"""What each refusal of AWS means, by its code. Pure data."""

from __future__ import annotations

from typing import NamedTuple


class Words(NamedTuple):
    kind: str  # of LaunchRefused
    message: str
    hint: str = ""


_FULL = Words(
    "capacity",
    "AWS has no {kind} {machine} free in {where} now.",
    "Another zone, region or machine may have one{room}.",
)
_SLOW = Words(
    "throttled", "AWS asks for fewer calls: {operation} was refused.", "It is tried again."
)
_WRONG_KEYS = Words(
    "credentials",
    "AWS does not accept these credentials: {said}.",
    "`aws sts get-caller-identity` shows whose they are; look at AWS_PROFILE and ~/.aws.",
)
_EXPIRED = Words(
    "credentials",
    "The credentials for AWS have expired: {said}.",
    "Sign in again (`aws sso login`, or new keys), then start the job again.",
)
_NO_IMAGE = Words(
    "image",
    "The machine image {image} is not there in {region}: {said}.",
    "Ids of images differ from region to region. Set JUPYTER_REMOTE_EC2_IMAGE to one of this "
    "region, or to the path of a parameter; without it a public image with drivers is used.",
)
_NO_TYPE = Words(
    "machine",
    "{machine} is not offered in {region}.",
    "Choose another region (JUPYTER_REMOTE_EC2_REGION) or machine: `%remote machines`.",
)
_NO_SUBNET = Words(
    "setting",
    "There is no network for the machine in {where}: {said}.",
    "Set JUPYTER_REMOTE_EC2_SUBNETS to subnets from which the internet can be reached, or make a "
    "default VPC: aws ec2 create-default-vpc --region {region}",
)
_NO_GROUP = Words(
    "setting",
    "The security group is not there in {region}: {said}.",
    "Set JUPYTER_REMOTE_EC2_SECURITY_GROUPS to ids (sg-…) of the VPC of the subnets, or leave it "
    "empty.",
)
_NO_PROFILE = Words(
    "setting",
    "The instance profile cannot be used: {said}.",
    "Machines need no rights: leave JUPYTER_REMOTE_EC2_INSTANCE_PROFILE empty, or set it to the "
    "name of a profile that is there.",
)
_DISK = Words(
    "quota",
    "The account may have no more disk space in {region}: {said}.",
    "Make JUPYTER_REMOTE_EC2_DISK_GIB smaller, delete volumes that nobody needs, or ask for more:\n"
    "  aws service-quotas request-service-quota-increase --service-code ebs "
    "--quota-code L-7A658B76 --desired-value 100 --region {region}",
)
_SETTING = Words(
    "setting", "AWS refused a setting: {said}.", "Look at the settings JUPYTER_REMOTE_EC2_…"
)
_WAIT = Words(
    "other",
    "AWS looks at this account before it launches machines in {region}: {said}.",
    "This takes up to some hours; AWS writes a mail when it is done.",
)

REFUSALS = {
    "InsufficientInstanceCapacity": _FULL,
    "InsufficientCapacity": _FULL,
    "InsufficientHostCapacity": _FULL,
    "SpotMaxPriceTooLow": _FULL,
    "Unsupported.Zone": _FULL,
    "InsufficientFreeAddressesInSubnet": Words(
        "capacity",
        "The subnet in {where} has no free addresses.",
        "Other zones may have some; JUPYTER_REMOTE_EC2_SUBNETS names the subnets that are used.",
    ),
    "RequestLimitExceeded": _SLOW,
    "Throttling": _SLOW,
    "ThrottlingException": _SLOW,
    "RequestThrottled": _SLOW,
    "RequestThrottledException": _SLOW,
    "EC2ThrottledException": _SLOW,
    "AuthFailure": _WRONG_KEYS,
    "InvalidClientTokenId": _WRONG_KEYS,
    "UnrecognizedClientException": _WRONG_KEYS,
    "SignatureDoesNotMatch": _WRONG_KEYS,
    "InvalidSignatureException": _WRONG_KEYS,
    "MissingAuthenticationToken": _WRONG_KEYS,
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "RequestExpired": Words(
        "credentials",
        "AWS finds this call too old: {said}.",
        "Set the clock of this computer, or sign in again.",
    ),
    "AuthFailure.ServiceLinkedRoleCreationNotPermitted": Words(
        "rights",
        "This account has never used spot machines, and these credentials may not do "
        "iam:CreateServiceLinkedRole.",
        "Once, by somebody who may:\n  aws iam create-service-linked-role "
        "--aws-service-name spot.amazonaws.com",
    ),
    "InvalidAMIID": _NO_IMAGE,
    "ParameterNotFound": _NO_IMAGE,
    "ParameterVersionNotFound": _NO_IMAGE,
    "InvalidInstanceType": _NO_TYPE,
    "Unsupported": _NO_TYPE,
    "InvalidSubnetID": _NO_SUBNET,
    "InvalidSubnet": _NO_SUBNET,
    "MissingInput": _NO_SUBNET,
    "VPCIdNotSpecified": _NO_SUBNET,
    "DefaultVpcDoesNotExist": _NO_SUBNET,
    "InvalidGroup": _NO_GROUP,
    "InvalidGroupId": _NO_GROUP,
    "InvalidSecurityGroupID": _NO_GROUP,
    "InvalidIamInstanceProfile": _NO_PROFILE,
    "NoSuchEntity": _NO_PROFILE,
    "VolumeLimitExceeded": _DISK,
    "MaxIOPSLimitExceeded": _DISK,
    "PendingVerification": _WAIT,
    "OptInRequired": Words(
        "other",
        "This account is not subscribed to EC2 in {region}: {said}.",
        "Finish its registration, or enable the region, in the AWS console.",
    ),
    "Blocked": Words(
        "other",
        "This account is blocked for EC2: {said}.",
        "Open a case with AWS Support: https://console.aws.amazon.com/support",
    ),
    "InvalidParameterValue": _SETTING,
    "InvalidParameterCombination": _SETTING,
    "InvalidParameter": _SETTING,
    "InvalidBlockDeviceMapping": _SETTING,
}

_NO_KEYS = Words(
    "credentials",
    "No credentials for AWS were found.",
    "`aws configure` or `aws sso login` makes some, JUPYTER_REMOTE_EC2_PROFILE names a profile. "
    "The backend reads them, not the notebook.",
)
# by class of botocore: nothing was sent
SILENT = {
    "NoCredentialsError": _NO_KEYS,
    "PartialCredentialsError": Words("credentials", "{said}.", _NO_KEYS.hint),
    "CredentialRetrievalError": Words("credentials", "{said}.", _EXPIRED.hint),
    "TokenRetrievalError": _EXPIRED,
    "SSOError": _EXPIRED,
    "LoginError": _EXPIRED,
    "ProfileNotFound": Words(
        "setting",
        "{said}.",
        "`aws configure list-profiles` lists them; JUPYTER_REMOTE_EC2_PROFILE and AWS_PROFILE "
        "name one.",
    ),
    "ConfigParseError": Words("setting", "{said}.", "Mend that file, or take it away."),
    "InvalidRegionError": Words(
        "setting", "{said}.", "Set JUPYTER_REMOTE_EC2_REGION, for example to us-east-1."
    ),
    "NoSuchRegion": Words(
        "setting",
        "AWS has no region {region}, as far as boto3 knows.",
        "Set JUPYTER_REMOTE_EC2_REGION to one of: aws account list-regions",
    ),
    "ParamValidationError": Words("setting", "AWS cannot be asked so: {said}."),
}
